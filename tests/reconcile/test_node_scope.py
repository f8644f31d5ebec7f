"""A node-scoped controller sees what is bound to its node, and stands for no election."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

from miren.entities.entity import Entity
from miren.entities.kinds import Kinds
from miren.entities.model import Model, field
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller, watches
from miren.reconcile.engine import Engine
from miren.reconcile.results import Key
from tests.reconcile.virtual import date, virtually


class JobSpec(Model):
    node: str = field(default="", indexed=True)


class JobStatus(Model):
    ran_on: str = ""


class Job(Entity[JobSpec, JobStatus], api="example.dev/v1"):
    """Is bound to a node."""


class LimitSpec(Model):
    node: str = ""


class Limit(Entity[LimitSpec, JobStatus], api="example.dev/v1"):
    """Names a node too, but nobody can select by it."""


class Runs(Controller[Job], scope="node"):
    def __init__(self, who: str) -> None:
        self.who = who
        self.limits: list[str] = []

    async def reconcile(self, ctx: Context[Job], entity: Job) -> None:
        ctx.status = JobStatus(ran_on=self.who)

    @watches(Limit)
    def limited(self, limit: Limit) -> Iterable[Key[Job]]:
        self.limits.append(limit.name)
        return ()


class Counts(Controller[Job], primary=False):
    """Looks at all of them, wherever they run."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    async def reconcile(self, ctx: Context[Job], entity: Job) -> None:
        self.seen.add(entity.name)


def engine_of(
    client: StoreClient, *controllers: Controller[Job], name: str, node: str | None
) -> Engine:
    return Engine(
        client,
        controllers,
        elect="shop",
        identity=name,
        node=node,
        rng=random.Random(name),
        now=date,
    )


async def ran(client: StoreClient) -> dict[str, str]:
    return {job.name: job.status.ran_on for job in (await client.list(Job)).items}


@virtually
async def test_each_node_works_on_what_is_bound_to_it_whoever_leads() -> None:
    async with MemoryStore() as store:
        client = StoreClient(store=store, kinds=Kinds([Job, Limit]), now=date)
        counts = [Counts(), Counts()]
        runs = [Runs("n1"), Runs("n2")]
        one = engine_of(client, runs[0], counts[0], name="n1", node="n1")
        two = engine_of(client, runs[1], counts[1], name="n2", node="n2")
        async with one, two:
            await client.create(Job.new("a", node="n1"))
            await client.create(Job.new("b", node="n2"))
            await client.create(Job.new("c"))
            await client.create(Limit.new("l", node="n2"))
            await asyncio.sleep(5)
            await one.run_until_idle()
            await two.run_until_idle()
            assert await ran(client) == {"a": "n1", "b": "n2", "c": ""}
            assert sorted(len(each.seen) for each in counts) == [0, 3], "one of them leads"
            assert [each.limits for each in runs] == [["l"], ["l"]]
            told = [engine.health()[0] for engine in (one, two)]
            assert [each.is_leading for each in told] == [True, True]
            await client.patch(Job, "c", {"spec": {"node": "n2"}})
            await two.run_until_idle()
            assert (await ran(client))["c"] == "n2"


@virtually
async def test_an_engine_without_a_node_is_the_only_one() -> None:
    async with MemoryStore() as store:
        client = StoreClient(store=store, kinds=Kinds([Job, Limit]), now=date)
        async with engine_of(client, Runs("all"), name="n1", node=None) as engine:
            await client.create(Job.new("a", node="n1"))
            await client.create(Job.new("b"))
            await engine.run_until_idle()
            assert await ran(client) == {"a": "all", "b": "all"}
