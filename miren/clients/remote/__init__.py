"""`RemoteClient`: entities of a Miren server, from another process.

    async with RemoteClient("unix:///run/miren/miren.sock", kinds=[Job]) as client:
        async with Engine(client, [Runs()], node="n1"):
            ...

Controllers run over it as they do in the server. Comes with the extra `miren[remote]`.
"""

from miren.clients.remote.client import RemoteClient

__all__ = ["RemoteClient"]
