"""`make bench-engine`: the engine against kopf, on the same Kubernetes API.

Both sides run in turns, each in a process of its own and anew in every round, on one API in a
third (see `bench.operators`). kopf has the settings it is fastest with; ours is the whole engine
over `KubernetesClient`, with predicates, and with all that its metrics count. The kind has no
status subresource, for kopf writes twice to one that has.

    python -m bench.engine --rounds 1 --dry    a quick look, which saves nothing
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.harness import Goal, load, report
from bench.operators import alone
from bench.operators.processes import API, serving
from bench.operators.rounds import LOST, OBJECTS, STORM, Cold, Live, Side, cold, live
from bench.queue import bench_queue
from tests.kubernetes_api.peers import peers_python

ROUNDS = 5
FEW, MANY, CROWD = 1000, 5000, 20_000
_KIB = 1024

_COLD_NOTE = (
    "from the start of the operator until all have a status; one PATCH an object on both sides: "
    "kopf's has the status and its last-handled annotation, ours the status and the generation "
    "observed, no condition"
)
_EVENT_NOTE = "each event has one call of the handler, which writes nothing"


@dataclass(slots=True)
class Round:
    """What one side came to in one round."""

    few: Cold
    many: Cold
    live: Live


@dataclass(slots=True)
class Rounds:
    """All that was measured, round by round."""

    mine: list[Round] = field(default_factory=list)
    peer: list[Round] = field(default_factory=list)
    crowd: list[Cold] = field(default_factory=list)  # with three indexes
    crowd_few: list[Cold] = field(default_factory=list)

    def ratio(
        self,
        name: str,
        bar: float | None,
        figure: Callable[[Round], float],
        *,
        at_least: bool = False,
        unit: str = "s",
        note: str = "",
    ) -> Goal:
        """Return our figures against kopf's."""
        mine, peer = (tuple(map(figure, side)) for side in (self.mine, self.peer))
        return Goal(name, bar, mine, peer, at_least, unit, note)

    def mine_alone(
        self, name: str, bar: float | None, figure: Callable[[Round], float], unit: str = "s"
    ) -> Goal:
        """Return our figures as they are."""
        return Goal(name, bar, tuple(map(figure, self.mine)), unit=unit)


async def bench_rounds(rounds: int) -> Rounds:
    """Run both sides in turns."""
    kopf = Side("kopf", peers_python(), "bench.operators.kopf_operator")
    miren = Side("miren", sys.executable, "bench.operators.miren_operator")
    found = Rounds()
    async with serving() as api:
        for number in range(rounds):
            sides = [(miren, found.mine), (kopf, found.peer)]
            for side, kept in sides if number % 2 else reversed(sides):
                kept.append(await _round(api, side))
            found.crowd.append(await cold(api, miren, CROWD, mode="indexed"))
            found.crowd_few.append(await cold(api, miren, FEW, mode="indexed"))
            sys.stderr.write(f"round {number + 1} of {rounds}\n")
    return found


async def _round(api: API, side: Side) -> Round:
    return Round(await cold(api, side, FEW), await cold(api, side, MANY), await live(api, side))


def goals_of(found: Rounds) -> list[Goal]:
    """Return a goal for each of the figures."""
    ratio, mine = found.ratio, found.mine_alone
    return [
        *(
            goal
            for name, bar, count, of in (
                ("1,000", 5.0, FEW, lambda each: each.few),
                ("5,000", 6.0, MANY, lambda each: each.many),
            )
            for goal in _cold(found, name, bar, count, of)
        ),
        ratio(
            "CPU of an event that is handled, nothing written",
            0.12,
            lambda each: each.live.event_cpu,
            note=_EVENT_NOTE,
        ),
        ratio(
            f"CPU of an event in a storm of {STORM:,} on {OBJECTS:,}",
            0.12,
            lambda each: each.live.storm_cpu,
            note="kopf's handler is called for each; ours for what is newest",
        ),
        mine("storm: p99 until an event or a newer one is handled", 0.15, _staleness),
        mine("storm: until all is handled", 0.4, lambda each: each.live.storm_seconds),
        ratio("storm: p99, beside kopf's", None, _staleness),
        mine(
            f"410, {LOST} of {OBJECTS:,} gone: deletes missing or too many",
            0,
            lambda each: abs(each.live.late_deletes - LOST),
            "deletes",
        ),
        mine(
            f"410, {LOST} of {OBJECTS:,} gone: calls for what is unchanged",
            0,
            lambda each: each.live.needless,
            "calls",
        ),
        ratio("20 events/s: p50 until handled", 0.6, lambda each: each.live.latency),
        ratio(
            "memory of each of 5,000 (kopf caches none)",
            0.6,
            lambda each: each.many.memory / _KIB,
            unit="KiB",
        ),
        Goal(
            f"objects/s at {CROWD:,} with three indexes / at {FEW:,}",
            0.8,
            tuple(each.seconds / CROWD for each in found.crowd),
            tuple(each.seconds / FEW for each in found.crowd_few),
            at_least=True,
        ),
        Goal(
            f"CPU of an object at {CROWD:,} with three indexes / at {FEW:,}",
            None,
            tuple(each.cpu / CROWD for each in found.crowd),
            tuple(each.cpu / FEW for each in found.crowd_few),
        ),
    ]


def _staleness(each: Round) -> float:
    return each.live.staleness


def _cold(
    found: Rounds, name: str, bar: float, count: int, of: Callable[[Round], Cold]
) -> Sequence[Goal]:
    return (
        found.ratio(
            f"{name} new objects given a status: objects/s",
            bar,
            lambda each: of(each).seconds,
            at_least=True,
            note=_COLD_NOTE,
        ),
        found.ratio(f"{name} new objects: CPU of each", 1 / 6, lambda each: of(each).cpu / count),
    )


def bench_alone(rounds: int) -> list[Goal]:
    """Measure what needs no peer."""
    alone.importing(alone.FIRST)  # whatever is to be compiled is compiled now
    taken = {
        statement: [alone.importing(statement) for _ in range(rounds)]
        for statement in (alone.NOTHING, alone.BARE, alone.FIRST)
    }
    more = {
        statement: tuple(it - bare for it, bare in zip(times, taken[alone.NOTHING], strict=True))
        for statement, times in taken.items()
    }
    return [
        Goal("a simulated seed, of every scenario", None, tuple(alone.replays(rounds))),
        Goal("import miren, more than Python alone", 0.15, more[alone.BARE]),
        _distributions("import miren", alone.BARE, 5),
        Goal("import of a first controller's names", None, more[alone.FIRST]),
        _distributions("import of a first controller's names", alone.FIRST, None),
    ]


def _distributions(name: str, statement: str, bar: float | None) -> Goal:
    count, names = alone.distributions(statement)
    return Goal(f"{name}: distributions", bar, (count,), unit="distributions", note=names)


def main() -> int:
    """Measure, print, and save unless told otherwise; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--dry", action="store_true", help="save nothing")
    options = parser.parse_args()
    at_start = load()
    goals = [
        *goals_of(asyncio.run(bench_rounds(options.rounds))),
        *asyncio.run(bench_queue(options.rounds)),
        *bench_alone(options.rounds),
    ]
    return report(
        "engine",
        goals,
        load_at_start=at_start,
        packages=["pydantic", "orjson", "aiohttp"],
        peers={"kopf": alone.kopf_version(peers_python())},
        save=not options.dry,
    )


if __name__ == "__main__":
    sys.exit(main())
