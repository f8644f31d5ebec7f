"""What the server answers to: one module a service, each a mapping from methods to handlers."""
