"""What both operators are made to do, and the figures that it gives. Times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass

from bench.operators.processes import API, Operator, operating

OBJECTS = 1000
STORM = 10_000
PACED = 60
RATE = 20
LOST = 10
_PASSES = 5


@dataclass(frozen=True, slots=True)
class Side:
    """How one operator is started."""

    name: str
    python: str
    module: str


@dataclass(frozen=True, slots=True)
class Cold:
    """An operator that starts where objects wait: until all have a status, and then at rest."""

    seconds: float
    cpu: float
    memory: float  # bytes for each object
    patches: int


@dataclass(frozen=True, slots=True)
class Live:
    """An operator that writes nothing, while objects change."""

    event_cpu: float  # of each event that its handler was called for
    storm_seconds: float
    storm_cpu: float  # of each event
    staleness: float  # p99: from a write until the handler saw it, or a newer one
    latency: float  # p50
    late_deletes: int  # told of those that went unseen
    needless: int  # calls for what had not changed


async def cold(api: API, side: Side, objects: int, *, mode: str = "status") -> Cold:
    """Start an operator that writes a status to each object."""
    await api.ask("load", count=objects)
    async with operating(side.python, side.module) as operator:
        before, memory = await operator.ask("stats"), operator.rss()
        began = await _start(api, operator, mode=mode)
        written = await api.ask("written", count=objects)
        await operator.settled()
        after = await operator.ask("stats")
        patches = (await api.ask("stats"))["requests"].get("patch gadgets", 0)
        return Cold(
            written["at"] - began,
            after["cpu"] - before["cpu"],
            (operator.rss() - memory) / objects,
            patches,
        )


async def live(api: API, side: Side) -> Live:
    """Have an operator see single changes, a storm, a quiet time, and what it cannot see."""
    await api.ask("load", count=OBJECTS)
    async with operating(side.python, side.module) as operator:
        await _start(api, operator, mode="events")
        await operator.ask("until", objects=OBJECTS, number=0)
        await operator.settled()
        event_cpu, last = await _passes(api, operator)
        storm = await _storm(api, operator, last)
        latency = await _paced(api, operator, last + STORM)
        await api.ask("lose", count=LOST)
        await operator.settled()
        lost = await operator.ask("stats")
        return Live(event_cpu, *storm, latency, lost["deletes"], lost["calls"])


async def _start(api: API, operator: Operator, *, mode: str) -> float:
    return float((await operator.ask("start", url=api.url, mode=mode))["at"])


async def _passes(api: API, operator: Operator) -> tuple[float, int]:
    """Write to each object once, some times; every event has a call then."""
    last = 0
    before = await operator.ask("stats")
    for _ in range(_PASSES):
        await api.ask("storm", count=OBJECTS)
        await operator.ask("until", objects=OBJECTS, number=last + 1)
        last += OBJECTS
    await operator.settled()
    after = await operator.ask("stats")
    assert after["calls"] == last, f"{after['calls']} calls for {last} events"
    return (after["cpu"] - before["cpu"]) / last, last


async def _storm(api: API, operator: Operator, last: int) -> tuple[float, float, float]:
    """Return the seconds until all is handled, the CPU seconds an event, and the staleness."""
    before = await operator.ask("stats")
    await api.ask("storm", count=STORM)
    end = await operator.ask("until", objects=OBJECTS, number=last + STORM - OBJECTS + 1)
    await operator.settled()
    after = await operator.ask("stats")
    times = await api.ask("times")
    stale = sorted(_staleness(after["seen"], times, last))
    assert len(stale) == STORM, f"{len(stale)} of {STORM} events were seen"
    cpu = (after["cpu"] - before["cpu"]) / STORM
    return end["at"] - times[last + 1], cpu, stale[int(len(stale) * 0.99)]


def _staleness(seen: list[tuple[float, int, str]], times: list[float], last: int) -> list[float]:
    """Return of each event how long it took until it, or a newer one, was seen."""
    found = []
    known: dict[str, int] = {}
    for at, number, name in seen:
        # Objects are written to in turn, so an object's numbers are so many apart.
        before = known.get(name, (number - 1) % OBJECTS + 1 + last - OBJECTS)
        found += [at - times[each] for each in range(before + OBJECTS, number + 1, OBJECTS)]
        known[name] = max(number, before)
    return found


async def _paced(api: API, operator: Operator, last: int) -> float:
    await operator.ask("stats")
    await api.ask("paced", count=PACED, rate=RATE)
    await operator.ask("until", objects=PACED, number=last + 1)
    seen, times = (await operator.ask("stats"))["seen"], await api.ask("times")
    taken = sorted(at - times[number] for at, number, _ in seen)
    return float(taken[len(taken) // 2])
