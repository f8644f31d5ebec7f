"""`KubernetesClient`: the same controllers, on a Kubernetes cluster.

    async with KubernetesClient.in_cluster(kinds=[Greeting]) as client:
        async with Engine(client, [Greeter()]) as engine:
            ...

A kind of `api="example.dev/v1"` is the custom resource of that group and version, and a project
is a namespace. Comes with the extra `miren[kubernetes]`.
"""

from miren.clients.kubernetes.client import KubernetesClient
from miren.clients.kubernetes.credentials import Credentials

__all__ = ["Credentials", "KubernetesClient"]
