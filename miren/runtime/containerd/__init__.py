"""Containers by a private containerd, each in a gVisor sandbox (runsc) or, if asked for, runc.

`ContainerdDaemon` keeps the private containerd alive, `ContainerdRuntime` is the adapter that
talks to it, `purge` removes all that an instance has on this host. Needs root, and the extra
`miren[containerd]`; import the modules where they are used, never at a program's start.
"""
