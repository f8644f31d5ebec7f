"""`make bench-entities`: what the entity layer costs above what it stands on.

Peers: the raw store with the very same operations, pydantic alone, PyYAML's C composer.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from bench.harness import Goal, clock, compare, compare_async, load, report
from miren.base.yaml import parse
from miren.entities.changes import updated
from miren.entities.entity import Entity, Metadata, Partial
from miren.entities.guards import operations
from miren.entities.kinds import Kinds
from miren.entities.model import Map, Model, field
from miren.entities.records import encode, stored_document
from miren.entities.store.api import Store
from miren.entities.store.sqlite import SQLiteStore
from miren.entities.store_client import StoreClient
from miren.entities.writes import Write

COUNT = 1000
IN_FLIGHT = 16


class Port(Model, shorthand="port"):
    port: int = field(min=1, max=65535)
    name: str | None = None
    protocol: str = "tcp"


class Container(Model):
    name: str = field(default="main", pattern="[a-z0-9-]+")
    image: str
    command: tuple[str, ...] = ()
    env: Map[str] = field(default={})
    ports: tuple[Port, ...] = field(default=(), merge_key="port")


class BoxSpec(Model):
    containers: tuple[Container, ...] = field(merge_key="name")
    node: str | None = field(default=None, indexed=True)
    hostname: str | None = field(default=None, unique="cluster")
    replicas: int = field(default=1, min=0)


class BoxStatus(Model):
    phase: str = field(default="pending", indexed=True)
    ready: int = 0


class Box(Entity[BoxSpec, BoxStatus], api="bench.miren.dev/v1"):
    """About 1 KiB when it is stored, with two indexes and a unique value."""


class Whole(BaseModel):
    """The same entity as pydantic alone would have it."""

    apiVersion: str  # noqa: N815  # as on the wire
    kind: str
    metadata: Metadata
    spec: BoxSpec
    status: BoxStatus


def document(number: int, *, replicas: int = 1) -> dict[str, Any]:
    env = {f"VARIABLE_{index}": f"some value number {index}" for index in range(12)}
    ports = [{"port": 8000 + index, "name": f"port-{index}"} for index in range(3)]
    main = {
        "name": "main",
        "image": "registry.example/team/application:1.2.3",
        "command": ["/usr/bin/application", "--listen", "0.0.0.0:8000"],
        "env": env,
        "ports": ports,
    }
    return {
        "apiVersion": "bench.miren.dev/v1",
        "kind": "Box",
        "metadata": {"name": f"box-{number:04}", "labels": {"app": "web", "tier": "front"}},
        "spec": {
            "containers": [main],
            "node": f"node-{number % 10}",
            "hostname": f"box-{number:04}",
            "replicas": replicas,
        },
    }


async def in_flight(calls: Sequence[Callable[[], Awaitable[object]]]) -> float:
    """Make all calls, so many at a time, and return the seconds it took."""
    rest = iter(calls)

    async def work() -> None:
        for call in rest:
            await call()

    began = clock()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return clock() - began


def client_of(store: Store) -> StoreClient:
    return StoreClient(store=store, kinds=Kinds([Box]))


async def bench_update(folder: Path) -> Goal:
    """Update through the client, against the transactions that it makes."""
    async with SQLiteStore(folder / "mine") as mine, SQLiteStore(folder / "peer") as peer:
        clients = {id(store): client_of(store) for store in (mine, peer)}
        for store in (mine, peer):
            made = [Box.from_document(document(number)) for number in range(COUNT)]
            await in_flight([partial(clients[id(store)].create, box) for box in made])
        turn = iter(range(1, 1_000_000))

        async def changed(store: Store) -> list[Box]:
            replicas, client = next(turn), clients[id(store)]
            found = (await client.list(Box)).items
            return [
                box.with_spec(box.spec.model_copy(update={"replicas": replicas})) for box in found
            ]

        async def run_mine() -> float:
            boxes, client = await changed(mine), clients[id(mine)]
            return await in_flight([partial(client.update, box) for box in boxes])

        async def run_peer() -> float:
            boxes, client = await changed(peer), clients[id(peer)]
            writes = []
            for box in boxes:
                old = await client._get_stored(Box, box.name, None)  # noqa: SLF001
                change = updated(old, box, manager="update")
                new = change.entity.with_metadata(generation=old.entity.metadata.generation + 1)
                write: Write[Box] = Write(new, old, change.managers, client.kinds)
                guards = write.guards
                compares = [guard.compare for guard in guards]
                writes.append((compares, write.then(), operations(guards)))
            return await in_flight([partial(peer.transact, *write) for write in writes])

        return await compare_async(
            "update through the client / raw transaction", 1.4, mine=run_mine, peer=run_peer
        )


async def bench_apply(folder: Path) -> Goal:
    """Apply parsed documents that are new, against the transactions that it makes."""
    partials = [Partial(Box, document(number)) for number in range(COUNT)]
    turn = iter(range(1_000_000))

    async def run_mine() -> float:
        async with SQLiteStore(folder / f"apply-{next(turn)}") as store:
            client = client_of(store)
            return await in_flight(
                [partial(client.apply, each, manager="bench") for each in partials]
            )

    made = [Box.from_document(document(number)) for number in range(COUNT)]
    now = datetime.now(UTC)
    writes = []
    for number, box in enumerate(made):
        new = box.with_metadata(
            project="default", uid=f"{number:020}", generation=1, creation_timestamp=now
        )
        owned = {"bench": frozenset(_owned(document(number)))}
        write: Write[Box] = Write(new, None, owned, Kinds([Box]))
        guards = write.guards
        writes.append(([g.compare for g in guards], write.then(), operations(guards)))

    async def run_peer() -> float:
        async with SQLiteStore(folder / f"apply-{next(turn)}") as store:
            return await in_flight([partial(store.transact, *write) for write in writes])

    return await compare_async(
        "apply of 1,000 documents / raw transactions", 2.0, mine=run_mine, peer=run_peer
    )


def _owned(given: dict[str, Any]) -> list[str]:
    from miren.entities.merging import leaves

    return [pointer for pointer, _ in leaves({"spec": given["spec"]})]


def bench_codec() -> Goal:
    """From plain data to an entity to stored bytes, against pydantic's own way there."""
    given = {**document(1), "status": {"phase": "running", "ready": 1}}

    def run_mine() -> float:
        began = clock()
        for _ in range(COUNT):
            encode(stored_document(Box.from_document(given)))
        return clock() - began

    def run_peer() -> float:
        began = clock()
        for _ in range(COUNT):
            Whole.model_validate(given).model_dump_json(by_alias=True, exclude_none=True)
        return clock() - began

    return compare("validation and encoding / pydantic alone", 2.0, mine=run_mine, peer=run_peer)


def bench_yaml() -> Goal:
    """A stream of documents to plain data with positions, against composing it."""
    documents = [document(number) for number in range(COUNT)]
    text = yaml.dump_all(documents, sort_keys=False)

    def run_mine() -> float:
        began = clock()
        parsed = parse(text, "bench.yaml")
        assert len(parsed.documents) == COUNT
        assert not parsed.problems
        return clock() - began

    def run_peer() -> float:
        began = clock()
        assert len(list(yaml.compose_all(text, yaml.CSafeLoader))) == COUNT
        return clock() - began

    return compare("YAML with positions / PyYAML's C composer", 1.5, mine=run_mine, peer=run_peer)


async def main() -> int:
    at_start = load()
    size = len(encode(stored_document(Box.from_document(document(1)))))
    sys.stdout.write(f"one entity is {size} bytes; {COUNT} of them, {IN_FLIGHT} in flight\n")
    with tempfile.TemporaryDirectory(prefix="miren-bench-") as folder:
        goals = [
            await bench_update(Path(folder)),
            await bench_apply(Path(folder)),
            bench_codec(),
            bench_yaml(),
        ]
    return report(
        "entities", goals, load_at_start=at_start, packages=["pydantic", "PyYAML", "apsw"]
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
