"""From schema.yml to typed Python: the model of a schema, its reader, and the emitters.

Nothing that runs imports this package; it writes files that are committed.
"""
