"""Two operators that do the same, ours and kopf's, and the Kubernetes API that both work on.

Each runs in a process of its own; `processes` starts them and asks them, `rounds` is what they are
made to do.
"""
