"""The client over a Kubernetes API does what every client does, whatever the API can select on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from miren.clients.kubernetes import KubernetesClient
from tests.builders import KINDS, Greeting
from tests.contracts.client_contract import ClientContract
from tests.kubernetes_api import KubernetesAPI, Resource, serving


class TestKubernetesClient(ClientContract):
    """Attributes are selected on by the client."""


class TestWhereTheAPISelects(ClientContract):
    """Attributes are selected on by the API."""

    @pytest.fixture
    async def client(self) -> AsyncIterator[KubernetesClient]:
        resources = [
            Resource.of(kind, selectable=("spec.tone",) if kind is Greeting else ())
            for kind in KINDS
        ]
        api = KubernetesAPI(resources, namespaces=("default", "shop"), bookmarks=0.2)
        async with serving(api) as url, KubernetesClient(url, kinds=KINDS) as client:
            yield client


class TestWithoutStatusSubresources(ClientContract):
    """The status is a part of the object as any other."""

    @pytest.fixture
    async def client(self) -> AsyncIterator[KubernetesClient]:
        resources = [Resource.of(kind, has_status=False) for kind in KINDS]
        api = KubernetesAPI(resources, namespaces=("default", "shop"), bookmarks=0.2)
        async with serving(api) as url, KubernetesClient(url, kinds=KINDS) as client:
            yield client
