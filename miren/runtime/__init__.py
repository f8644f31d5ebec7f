"""What runs containers on this host, behind one small protocol (`api.Runtime`).

`containerd` is the real one, `process` needs neither root nor containerd and isolates nothing,
`fake` is for tests. They pass one contract suite. Nothing here knows what an entity is.
"""
