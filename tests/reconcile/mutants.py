"""The engine with bugs planted in it, each of which the scenarios must bring to light.

A mutant changes one thing. `scenario` is what finds it, within `seeds` seeds, and `shows` is part
of how that is told: a mutant that is found for another reason is not found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest

from miren.base.errors import MirenError
from miren.entities.client import Client, Listing
from miren.entities.store_client import StoreClient
from miren.reconcile.attempt import Attempt, Attempts
from miren.reconcile.fairness import Turns
from miren.reconcile.informer import Delta, Informer
from miren.reconcile.queue import WorkQueue
from miren.reconcile.results import Key, Requeue
from miren.reconcile.runner import Runner

__all__ = ["MUTANTS", "Mutant"]

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Mutant:
    """See the module."""

    plant: Callable[[Patch], None]
    scenario: str
    shows: str
    seeds: int = 10


def lost_wakeup(patch: Patch) -> None:
    """What was added to a key in work is forgotten when that ends."""
    done = WorkQueue.done

    def forgetful(queue: WorkQueue[Any], key: Any) -> None:
        queue._parked.pop(key, None)
        done(queue, key)

    patch.setattr(WorkQueue, "done", forgetful)


def dropped_tombstone(patch: Patch) -> None:
    """What went unseen is dropped from the cache, and nobody is told."""
    replace = Informer._replace

    def quiet(informer: Informer[Any], listing: Listing[Any]) -> None:
        listed = {Key.of(entity) for entity in listing.items}
        for key in [key for key in informer._entities if key not in listed]:
            del informer._entities[key]
        replace(informer, listing)

    patch.setattr(Informer, "_replace", quiet)


def unfenced_write(patch: Patch) -> None:
    """Whoever led once writes on."""

    def unfenced(client: StoreClient, key: str, revision: int) -> StoreClient:
        return client

    patch.setattr(StoreClient, "fenced", unfenced)


def inflated_backoff(patch: Patch) -> None:
    """Each failure counts, those that an event brought on before the delay was over too."""

    def inflated(queue: WorkQueue[Any], key: Any) -> float:
        count, now = queue._failures.get(key, (0, 0.0))[0] + 1, queue._now()
        delay = queue._backoff.delay(count, queue._rng)
        queue._failures[key] = (count, now + delay)
        queue.retries += 1
        queue.add_after(key, delay)
        return delay

    patch.setattr(WorkQueue, "failed", inflated)


def no_ageing(patch: Patch) -> None:
    """The highest priority always goes first."""

    def highest(queue: WorkQueue[Any], now: float) -> Turns[Any]:
        return next(level for level in queue._levels.values() if level.ready)

    patch.setattr(WorkQueue, "_next_level", highest)


def unfair_turns(patch: Patch) -> None:
    """A project that has begun goes on until it has nothing ready."""

    def take(turns: Turns[Any]) -> tuple[Any, float]:
        project, line = next(iter(turns._lines.items()))
        key, _ = line.popitem(last=False)
        if not line:
            del turns._lines[project]
        return key, turns.ready.pop(key)

    patch.setattr(Turns, "take", take)


def double_handout(patch: Patch) -> None:
    """A key in work is handed out once more when it is added."""

    add = WorkQueue.add

    def careless(queue: WorkQueue[Any], key: Any, *, priority: int = 0) -> None:
        running = queue._running.pop(key, None)
        add(queue, key, priority=priority)
        if running is not None:
            queue._running[key] = running

    patch.setattr(WorkQueue, "add", careless)


def early_release(patch: Patch) -> None:
    """The finalizer is taken off before what it is there for."""
    make = Attempts.make

    async def early(attempts: Attempts[Any], entity: Any, client: Client | None = None) -> Attempt:
        if entity.is_deleting and attempts._settings.finalizer in entity.metadata.finalizers:
            with suppress(MirenError):  # it is refused at times, which is no bug
                await attempts._let_go(entity, client or attempts._client)
        return await make(attempts, entity, client)

    patch.setattr(Attempts, "make", early)


def own_write_wakes(patch: Patch) -> None:
    """A controller's own write is news to it."""
    is_news = Runner._is_news

    def news(runner: Runner[Any], key: Key[Any], change: Delta[Any]) -> bool:
        written = runner._written.pop(key, None)
        try:
            return is_news(runner, key, change)
        finally:
            if written is not None:
                runner._written[key] = written

    patch.setattr(Runner, "_is_news", news)


def stale_read(patch: Patch) -> None:
    """A reconcile does not wait until the cache shows what the last one wrote."""

    async def blind(runner: Runner[Any], key: Key[Any]) -> None:
        return None

    patch.setattr(Runner, "_see_own_writes", blind)


def swallowed_write(patch: Patch) -> None:
    """What others wrote during a reconcile counts as seen, since its own write is on top."""

    make = Attempts.make

    async def unaware(attempts: Attempts[Any], entity: Any, client: Client | None) -> Attempt:
        return replace(await make(attempts, entity, client), overtaken_by=None)

    patch.setattr(Attempts, "make", unaware)


def retries_at_once(patch: Patch) -> None:
    """A failure is tried again as soon as there is time for it."""

    def failed(queue: WorkQueue[Any], key: Any) -> float:
        queue.add_after(key, 0.001)
        return 0.001

    patch.setattr(WorkQueue, "failed", failed)


def forgotten_requeue(patch: Patch) -> None:
    """`Requeue` is taken as done."""
    add_after = WorkQueue.add_after

    def forgetful(
        queue: WorkQueue[Any], key: Any, delay: float, *, priority: int | None = None
    ) -> None:
        if delay < Requeue(1).after:
            add_after(queue, key, delay, priority=priority)

    patch.setattr(WorkQueue, "add_after", forgetful)


MUTANTS: Mapping[str, Mutant] = {
    "lost wake-up": Mutant(lost_wakeup, "overtaken", "was never seen"),
    "dropped tombstone": Mutant(dropped_tombstone, "gone", "still known"),
    "unfenced write": Mutant(unfenced_write, "deposed", "where .* led"),
    "inflated back-off": Mutant(inflated_backoff, "failures", "comes back to .* late"),
    "no ageing": Mutant(no_ageing, "crowd", "still wait"),
    "unfair turns": Mutant(unfair_turns, "tenants", "not served within"),
    "double hand-out": Mutant(double_handout, "shop", "twice at once|sub-exception"),
    "finalizer removed early": Mutant(
        early_release, "shop", "finalized|not what is wanted|rooms of another size"
    ),
    "own write wakes": Mutant(own_write_wakes, "echoes", "call .* after .* writes"),
    "stale read after own write": Mutant(stale_read, "echoes", "sees .* and wrote"),
    "swallowed write": Mutant(swallowed_write, "overtaken", "was never seen"),
    "retries at once": Mutant(retries_at_once, "failures", "too early"),
    "forgotten requeue": Mutant(forgotten_requeue, "shop", "rooms"),
}
