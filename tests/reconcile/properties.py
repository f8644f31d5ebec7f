"""What must hold of every run of the engine, whatever happens to it.

A `Judge` hears all that a simulation notes and follows the store's own history, which misses
nothing. Some promises it holds the engine to at once, the others when everything has settled.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from miren.entities import keys
from miren.entities.elections import Candidate
from miren.entities.store.api import KeyRange, Revision
from miren.reconcile.attempt import Attempt
from miren.reconcile.results import Permanent, Temporary
from miren.reconcile.testing import Entry, Fault, Simulation

__all__ = ["CALM", "Judge", "judging"]

#: With nothing worse than these, no wait for what a cache has to show takes its whole time.
CALM = frozenset({Fault.DELAY, Fault.CONFLICT})

_BACKOFF_FIRST, _BACKOFF_CAP, _JITTER = 0.005, 300.0, 0.2


@dataclass
class Last:
    """The last attempt of a controller at a key that came to an end."""

    saw: int
    attempt: Attempt


@dataclass
class Failing:
    """What a key's failures in a row allow: when it is tried again, if nothing happens to it.

    From outside it is not always to be seen whether a failure counted, so this is a range.
    """

    fewest: int = 0
    most: int = 0
    earliest: float = 0.0
    latest: float = 0.0

    def fail(self, now: float) -> None:
        """Count a failure, unless an event brought it on before the delay was over."""
        if now < self.earliest:
            return
        self.most += 1
        counts = now >= self.latest
        self.fewest += counts
        self.earliest = now + _delay(self.fewest) * (1 - _JITTER) if counts else now
        self.latest = now + _delay(self.most)


def _delay(failures: int) -> float:
    return min(_BACKOFF_CAP, _BACKOFF_FIRST * 2.0 ** (failures - 1))


@dataclass
class Judge:
    """See the module. `elected` are the controllers of which only leaders may write."""

    sim: Simulation
    election: str | None = None
    last: dict[tuple[str, str], Last] = field(default_factory=dict)
    failing: dict[tuple[str, str], Failing] = field(default_factory=dict)
    begins: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    revisions: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    writes: list[tuple[str, str, int]] = field(default_factory=list)
    slack: float | None = None  # seconds that a retry may be late; None: not looked at
    is_calm: bool = field(init=False)
    _began: dict[tuple[str, str], Entry] = field(default_factory=dict)
    _reached: int = 0
    _candidates: dict[str, tuple[Candidate, int]] = field(default_factory=dict)
    _gone: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.is_calm = self.sim.faults <= CALM

    def hear(self, entry: Entry) -> None:
        """Take what a simulation notes."""
        who, _, controller = entry.who.partition("/")
        if entry.what in ("wrote", "removed") and who.startswith("engine"):
            self.writes.append((who, entry.key, entry.revision))
        elif entry.what in ("starts", "crashes", "stops"):
            self._forget(who)
        elif controller and entry.what == "begins":
            self._begin(entry)
        elif controller and isinstance(entry.detail, Attempt):
            self._end(entry, entry.detail)

    def _forget(self, who: str) -> None:
        """What an engine has in memory goes with it."""
        known: dict[tuple[str, str], Any]
        for known in (self._began, self.failing, self.last):
            for which in [which for which in known if which[0].startswith(f"{who}/")]:
                del known[which]

    def _begin(self, entry: Entry) -> None:
        which = (entry.who, entry.key)
        before = self._began.get(which)
        self.begins[which] += 1
        self._began[which] = entry
        last = self.last.get(which)
        if before is not None and last is not None and self.is_calm:
            written = last.attempt.written or 0
            self.sim.check(
                entry.revision >= written or before.detail.uid != entry.detail.uid,
                f"{entry.who} sees {entry.key} at {entry.revision}, and wrote {written}",
            )
        failing = self.failing.get(which)
        if self.slack is not None and failing is not None:
            self._check_not_early(entry, failing, before)
            self.sim.check(
                entry.time <= failing.latest + self.slack,
                f"{entry.who} comes back to {entry.key} {entry.time - failing.latest:.1f} s late"
                f" after {failing.most} failures",
            )

    def _check_not_early(self, entry: Entry, failing: Failing, before: Entry | None) -> None:
        """Only what somebody wrote meanwhile brings a key back before its time.

        Its own failures are written too, so the same state twice is what nobody wrote to.
        """
        is_same = before is not None and before.revision == entry.revision
        self.sim.check(
            not is_same or entry.time >= failing.earliest - 1e-6,
            f"{entry.who} comes back to {entry.key} {failing.earliest - entry.time:.3f} s too"
            f" early after {failing.most} failures",
        )

    def _end(self, entry: Entry, attempt: Attempt) -> None:
        which = (entry.who, entry.key)
        began = self._began.get(which)
        if began is None:
            return
        self.last[which] = Last(began.revision, attempt)
        error = attempt.outcome.error
        if error is None or isinstance(error, Temporary | Permanent):
            self.failing.pop(which, None)
            return
        self.failing.setdefault(which, Failing()).fail(entry.time)

    # -- the store's history ---------------------------------------------------------------

    def take(self, revision: Revision) -> None:
        """Take what one revision changed."""
        self._reached = revision.revision
        for event in revision.events:
            if keys.is_entity_key(event.key):
                self.revisions["/".join(event.key.split("/")[3:])].append(revision.revision)
            elif self.election and event.key in keys.candidates_range(self.election):
                if event.current is None:
                    self._gone[event.key] = revision.revision
                else:
                    decoded = Candidate.decode(event.current)
                    self._candidates.setdefault(event.key, (decoded, decoded.revision))

    async def caught_up(self) -> None:
        """Return once the history is known to its end."""
        newest = (await self.sim.store.status()).revision
        while self._reached < newest:  # noqa: ASYNC110  # the last may change nothing
            await asyncio.sleep(0.01)

    # -- when everything has settled -------------------------------------------------------

    def check_last_seen(self, controller: str, wanted: Iterable[str]) -> None:
        """Check of each key (`kind/project/name`) that its last attempt saw its last state.

        The attempts of who leads count: they alone have to.
        """
        (leader,) = (
            machine.name
            for machine in self.sim.engines
            if machine.is_up and machine.engine.health()[0].is_leading
        )
        for key in wanted:
            last = self.last.get((f"{leader}/{controller}", key))
            assert last is not None, f"{controller} never looked at {key}"
            error = last.attempt.outcome.error
            assert error is None, f"{controller} left {key} with {error!r}"
            history = self.revisions[key]
            later = history[bisect_right(history, last.saw) :]
            unseen = [revision for revision in later if revision != last.attempt.written]
            assert not unseen, f"{controller} saw {key} at {last.saw}, and never {unseen}"

    def check_fences(self) -> None:
        """Check that whoever wrote led the election at that revision."""
        if self.election is None:
            return
        for who, key, revision in self.writes:
            standing = [
                candidate
                for candidate, born in self._candidates.values()
                if born < revision < self._gone.get(candidate.key, revision + 1)
            ]
            leader = min(standing, key=lambda each: each.revision, default=None)
            led = leader.holder if leader else "nobody"
            assert led == who, f"{who} wrote {key} at {revision}, where {led} led"


@asynccontextmanager
async def judging(sim: Simulation, *, election: str | None = None) -> AsyncIterator[Judge]:
    """Judge a simulation while the body runs."""
    judge = Judge(sim, election)
    sim.trace.listen(judge.hear)

    async def follow() -> None:
        async with sim.store.watch(KeyRange.prefix("/"), after=1) as changes:
            async for change in changes:
                if isinstance(change, Revision):
                    judge.take(change)
                else:
                    judge._reached = change.revision

    following = asyncio.create_task(follow(), name="judge")
    following.add_done_callback(lambda task: _look(sim, task))
    try:
        yield judge
    finally:
        following.cancel()
        await asyncio.wait([following])


def _look(sim: Simulation, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        sim.fail(error)
