"""The command line. One lazy module a verb: a verb imports only what it needs."""
