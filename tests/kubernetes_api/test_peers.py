"""The API here is like the real one: kopf and the official Python client run on it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from miren.clients.kubernetes import KubernetesClient
from tests.builders import KINDS, Greeting, GreetingSpec, make_greeting
from tests.kubernetes_api import Resource, serving
from tests.kubernetes_api.controls import Controlled
from tests.kubernetes_api.peers import peers_python

PROGRAMS = Path(__file__).parent / "peer_programs"


@pytest.fixture(scope="module")
def python() -> str:
    return peers_python()


@pytest.fixture
def api() -> Controlled:
    return Controlled([Resource.of(kind) for kind in KINDS], bookmarks=0.2)


@pytest.fixture
async def url(api: Controlled) -> AsyncIterator[str]:
    async with serving(api) as url:
        yield url


@pytest.mark.timeout(90)
async def test_the_official_client_sees_what_it_does_on_a_real_one(python: str, url: str) -> None:
    found = await _run(python, str(PROGRAMS / "official.py"), url)
    assert found["discovering"] == {
        "version": "1",
        "groups": sorted(
            ["apiextensions.k8s.io", "coordination.k8s.io", "events.k8s.io", "example.dev"]
        ),
        "core": ["namespaces", "namespaces/status", "events", "configmaps"],
        "namespaces": ["default", "kube-system"],
        "crds": sorted(f"{resource.plural}.example.dev" for resource in map(Resource.of, KINDS)),
        "events": ["Greeted"],
    }
    writing = found["writing"]
    assert writing.pop("uid")
    assert writing == {
        "generations": [1, 2, 2],
        "texts": ["hey", "yo", "yo", "ho"],
        "statuses": [None, None, {"shout": "YO"}],
        "selected": ["hi"],
        "missing": [404, "NotFound"],
        "taken": [409, "AlreadyExists"],
        "nowhere": [404, "NotFound"],
    }
    assert found["paging"] == [["hi", "page-0"], ["page-1", "page-2"], ["page-3"]]
    assert found["conflicting"] == {
        "text": "new",
        "stale": [409, "Conflict"],
        "other uid": [409, "Conflict"],
    }
    assert found["following"] == [
        ["ADDED", "watched"],
        ["MODIFIED", "watched"],
        ["DELETED", "watched"],
        ["BOOKMARK", None],
    ]
    assert found["ending"] == {
        "begun": True,
        "added": [422, "Invalid"],
        "gone": [404, "NotFound"],
    }
    assert found["compacted"] == [410, None]
    assert found["applying"] == ["hey", "conflict", "theirs"]


@pytest.mark.timeout(90)
async def test_a_kopf_operator_works_on_it_beside_our_client(
    python: str, url: str, api: Controlled
) -> None:
    command = (python, "-m", "kopf", "run", "--all-namespaces", str(PROGRAMS / "kopf_operator.py"))
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, "API": url}, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with KubernetesClient(url, kinds=KINDS) as client:
            await client.create(make_greeting())
            made = await _shouting(client, "HEY")
            assert made.metadata.finalizers == ("kopf.zalando.org/KopfFinalizerMarker",)
            await client.patch(Greeting, "hi", {"spec": {"text": "yo"}})
            seen = await _shouting(client, "YO")
            assert seen.spec == GreetingSpec(text="yo")
            await client.delete(Greeting, "hi")
            await client.wait(Greeting, "hi", lambda g: g is None, timeout=20)
    finally:
        process.terminate()
        output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert output.decode().split() == ["deleted", "hi"]
    assert process.returncode == 0
    assert api.requests["post events"] >= 1


async def _shouting(client: KubernetesClient, text: str) -> Greeting:
    found = await client.wait(
        Greeting, "hi", lambda g: g is not None and g.status.shout == text, timeout=20
    )
    assert found is not None
    return found


async def _run(*command: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(output)
    return found
