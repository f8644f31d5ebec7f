"""An API with the tests' kinds, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from miren.clients.kubernetes import KubernetesClient
from tests.builders import KINDS
from tests.kubernetes_api import KubernetesAPI, Resource, serving


@pytest.fixture
def api() -> KubernetesAPI:
    resources = [Resource.of(kind) for kind in KINDS]
    return KubernetesAPI(resources, namespaces=("default", "shop"), bookmarks=0.2)


@pytest.fixture
async def url(api: KubernetesAPI) -> AsyncIterator[str]:
    async with serving(api) as url:
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[KubernetesClient]:
    async with KubernetesClient(url, kinds=KINDS) as client:
        yield client
