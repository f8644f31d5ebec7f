"""Entities: their kinds, documents, the client that reads and writes them, and the stores below.

Nothing here knows containers, networks, disks or the command line. `gen` is generated from
`schema`; whatever is here may be used by engines, controllers, servers and by other programs.
"""
