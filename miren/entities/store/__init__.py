"""The entity store: one ordered key space with revisions, transactions and watches.

`api` is the contract, `memory` and `sqlite` keep it; the same conformance suite runs on both.
Nothing here knows what an entity is.
"""
