"""The server: where all parts are put together, and the services it offers."""
