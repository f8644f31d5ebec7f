"""A Kubernetes API server in this process, or `python -m tests.kubernetes_api --port 8001`.

It keeps objects of the kinds it is told of and of every CustomResourceDefinition that is created,
and serves them as kube-apiserver does, as far as clients and operators depend on it: lists in
pages, watches with bookmarks and 410 Gone, all four kinds of patches, status subresources,
finalizers, generations, preconditions, discovery. It validates nothing, collects no garbage and
knows no users. That it is like the real one is shown by what runs on it: kopf, and the official
Python client.
"""

from tests.kubernetes_api.objects import Objects
from tests.kubernetes_api.refusals import Refusal
from tests.kubernetes_api.resources import Resource
from tests.kubernetes_api.server import KubernetesAPI, serving

__all__ = ["KubernetesAPI", "Objects", "Refusal", "Resource", "serving"]
