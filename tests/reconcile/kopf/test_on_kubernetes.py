"""The handlers of before, on the kind of cluster that they come from."""

from __future__ import annotations

from typing import Any

from miren.clients.kubernetes import KubernetesClient
from miren.reconcile import kopf
from miren.reconcile.engine import Engine
from tests.kubernetes_api import KubernetesAPI, Resource, serving

Example = kopf.kind("KopfExample", api="kopf.dev/v1", spec=["size"], status=["create_fn"])


async def test_handlers_work_on_a_kubernetes_api() -> None:
    mine = kopf.OperatorRegistry()
    told: list[Any] = []

    @kopf.on.create("kopfexamples", registry=mine)
    async def create_fn(spec: Any, namespace: str, patch: kopf.Patch, **_: Any) -> dict[str, Any]:
        patch.metadata.labels["seen"] = "yes"
        return {"size": spec["size"], "namespace": namespace}

    @kopf.on.update("kopfexamples", registry=mine, field="spec.size")
    async def update_fn(old: Any, new: Any, **_: Any) -> None:
        told.append((old, new))

    @kopf.on.delete("kopfexamples", registry=mine)
    async def delete_fn(name: str, **_: Any) -> None:
        told.append(name)

    api = KubernetesAPI([Resource.of(Example)], namespaces=("default",), bookmarks=0.2)
    async with (
        serving(api) as url,
        KubernetesClient(url, kinds=[Example]) as client,
        Engine(client, kopf.controllers([Example], registry=mine)),
    ):
        await client.create(Example.new("one", size=1))
        made = await client.wait(
            Example,
            "one",
            lambda one: one is not None and one.status.create_fn is not None,
            timeout=20,
        )
        assert made is not None
        assert made.status.create_fn == {"size": 1, "namespace": "default"}
        assert made.metadata.labels == {"seen": "yes"}
        await client.patch(Example, "one", {"spec": {"size": 2}})
        await client.wait(Example, "one", lambda _one: told == [(1, 2)], timeout=20)
        await client.delete(Example, "one")
        await client.wait(Example, "one", lambda one: one is None, timeout=20)
        assert told == [(1, 2), "one"]
