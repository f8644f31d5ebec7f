"""Measure A against B: interleaved rounds, ratios, one line a goal.

A ratio holds where absolute figures do not: both sides run in the same minute on the same machine,
in turns, each round with both. Contention changes even ratios, so a machine that is busy when a
run begins is said to be `noisy`, and nothing is judged.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

T = TypeVar("T")

RESULTS = Path(__file__).parent / "results"
ROUNDS = 7
_BUSY = 1.0  # load average of the last minute


@dataclass(frozen=True)
class Goal:
    """What is judged: the seconds that `mine` took over those of `peer`, at most `bar`.

    With `at_least` it is the other way round, how many times as fast mine is, and the bar is the
    least. Without a peer the bar is how many seconds mine may take. What is measured may be
    something else than seconds: then `unit` says what. Without a bar it is there to be known.
    """

    name: str
    bar: float | None
    mine: tuple[float, ...]
    peer: tuple[float, ...] = ()
    at_least: bool = False
    unit: str = "s"
    note: str = ""

    @property
    def figures(self) -> list[float]:
        """The rounds' own ratios, or what the rounds took where there is no peer."""
        if not self.peer:
            return list(self.mine)
        ratios = [mine / peer for mine, peer in zip(self.mine, self.peer, strict=True)]
        return [1 / ratio for ratio in ratios] if self.at_least else ratios

    @property
    def figure(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.figures)

    @property
    def is_ok(self) -> bool:
        if self.bar is None:
            return True
        return self.figure >= self.bar if self.at_least else self.figure <= self.bar

    def line(self, *, noisy: bool) -> str:
        figures, sign = self.figures, ">= " if self.at_least else ""
        verdict = "noisy" if noisy else "ok" if self.is_ok else "short"
        if not self.peer:
            mine, unit = _told(statistics.median(self.mine), self.unit)
            spread = "-".join(_told(each, self.unit)[0] for each in (min(figures), max(figures)))
            found = f"{self.name:60} {mine:>6} {unit} ({spread})"
            if self.bar is None:
                return found
            return f"{found} bar {sign}{' '.join(_told(self.bar, self.unit))} {verdict}"
        spread = f"{min(figures):.2f}-{max(figures):.2f}"
        both = (" ".join(_told(statistics.median(s), self.unit)) for s in (self.mine, self.peer))
        ratio = f"{self.name:60} {self.figure:6.2f}x ({spread}, {' against '.join(both)})"
        return ratio if self.bar is None else f"{ratio} bar {sign}{self.bar}x {verdict}"


def _told(value: float, unit: str) -> tuple[str, str]:
    """Return how a value is written, and its unit; seconds are shown as milliseconds."""
    if unit == "s":
        value, unit = value * 1000, "ms"
    return f"{value:.1f}" if value >= 1 else f"{value:.3f}", unit


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the garbage collector out of what is measured, as `timeit` does."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def compare(
    name: str, bar: float, *, mine: Callable[[], float], peer: Callable[[], float]
) -> Goal:
    """Run both in turns; each returns the seconds that its measured part took."""
    mine(), peer()  # warm
    pairs = []
    for number in range(ROUNDS):
        first, second = (mine, peer) if number % 2 else (peer, mine)
        with _quiet():
            one = first()
        with _quiet():
            two = second()
        pairs.append((one, two) if number % 2 else (two, one))
    return Goal(name, bar, tuple(a for a, _ in pairs), tuple(b for _, b in pairs))


async def compare_async(
    name: str,
    bar: float,
    *,
    mine: Callable[[], Awaitable[float]],
    peer: Callable[[], Awaitable[float]],
    at_least: bool = False,
) -> Goal:
    """Run both in turns, as `compare` does."""
    pairs = await in_turns(mine=mine, peer=peer)
    return Goal(name, bar, tuple(a for a, _ in pairs), tuple(b for _, b in pairs), at_least)


async def in_turns(
    *,
    mine: Callable[[], Awaitable[T]],
    peer: Callable[[], Awaitable[T]],
    rounds: int = ROUNDS,
) -> list[tuple[T, T]]:
    """Run both in turns, warmed up, and return what they return, round by round."""
    await mine()
    await peer()
    pairs = []
    for number in range(rounds):
        first, second = (mine, peer) if number % 2 else (peer, mine)
        with _quiet():
            one = await first()
        with _quiet():
            two = await second()
        pairs.append((one, two) if number % 2 else (two, one))
    return pairs


def clock() -> float:
    return time.perf_counter()


def load() -> float:
    return os.getloadavg()[0]


def report(
    bench: str,
    goals: list[Goal],
    *,
    load_at_start: float,
    packages: list[str],
    peers: Mapping[str, str] = MappingProxyType({}),
    save: bool = True,
) -> int:
    """Print a line a goal, write the results, and return the exit code: 1 when one is short.

    `packages` are this environment's, `peers` those of others, with their versions. Nothing is
    written unless `save`.
    """
    noisy = load_at_start > _BUSY
    for goal in goals:
        sys.stdout.write(goal.line(noisy=noisy) + "\n")
    code = 0 if noisy or all(goal.is_ok for goal in goals) else 1
    if not save:
        return code
    rows = [
        {
            "goal": goal.name,
            "figure": round(goal.figure, 3),
            "spread": [round(min(goal.figures), 3), round(max(goal.figures), 3)],
            "bar": goal.bar,
            "bar_is": "least" if goal.at_least else "most",
            "ok": None if noisy or goal.bar is None else goal.is_ok,
            "rounds": len(goal.mine),
            f"mine_{_unit(goal)}": _spread(goal.mine, goal.unit),
            **({f"peer_{_unit(goal)}": _spread(goal.peer, goal.unit)} if goal.peer else {}),
            **({"note": goal.note} if goal.note else {}),
        }
        for goal in goals
    ]
    machine = {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": round(load_at_start, 2),
        "packages": {**{name: version(name) for name in packages}, **peers},
    }
    RESULTS.mkdir(exist_ok=True)
    told = {"machine": machine, "noisy": noisy, "rows": rows}
    (RESULTS / f"{bench}.json").write_text(json.dumps(told, indent=2) + "\n")
    return code


def _unit(goal: Goal) -> str:
    return _told(0, goal.unit)[1].replace("/", "_per_").replace(" ", "_")


def _spread(values: tuple[float, ...], unit: str) -> dict[str, float]:
    every = [round(value * 1000 if unit == "s" else value, 4) for value in values]
    return {"median": statistics.median(every), "min": min(every), "max": max(every)}


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "?")
