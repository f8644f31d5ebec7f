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
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
ROUNDS = 7
_BUSY = 1.0  # load average of the last minute


@dataclass(frozen=True)
class Goal:
    """What is compared: seconds of `mine` over seconds of `peer`, at most `bar`."""

    name: str
    bar: float
    mine: tuple[float, ...]
    peer: tuple[float, ...]

    @property
    def figure(self) -> float:
        """The median of the rounds' own ratios."""
        return statistics.median(a / b for a, b in zip(self.mine, self.peer, strict=True))

    @property
    def is_ok(self) -> bool:
        return self.figure <= self.bar

    def line(self, *, noisy: bool) -> str:
        ratios = [a / b for a, b in zip(self.mine, self.peer, strict=True)]
        verdict = "noisy" if noisy else "ok" if self.is_ok else "short"
        spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
        times = f"{_ms(self.mine)} ms against {_ms(self.peer)} ms"
        return f"{self.name:44} {self.figure:5.2f}x ({spread}, {times}) bar {self.bar}x {verdict}"


def _ms(seconds: tuple[float, ...]) -> str:
    return f"{statistics.median(seconds) * 1000:.1f}"


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
) -> Goal:
    """Run both in turns, as `compare` does."""
    await mine()
    await peer()
    pairs = []
    for number in range(ROUNDS):
        first, second = (mine, peer) if number % 2 else (peer, mine)
        with _quiet():
            one = await first()
        with _quiet():
            two = await second()
        pairs.append((one, two) if number % 2 else (two, one))
    return Goal(name, bar, tuple(a for a, _ in pairs), tuple(b for _, b in pairs))


def clock() -> float:
    return time.perf_counter()


def load() -> float:
    return os.getloadavg()[0]


def report(bench: str, goals: list[Goal], *, load_at_start: float, packages: list[str]) -> int:
    """Print a line a goal, write the results, and return the exit code: 1 when one is short."""
    noisy = load_at_start > _BUSY
    for goal in goals:
        sys.stdout.write(goal.line(noisy=noisy) + "\n")
    rows = [
        {
            "goal": goal.name,
            "figure": round(goal.figure, 3),
            "bar": goal.bar,
            "ok": None if noisy else goal.is_ok,
            "rounds": len(goal.mine),
            "mine_ms": _spread(goal.mine),
            "peer_ms": _spread(goal.peer),
        }
        for goal in goals
    ]
    machine = {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": round(load_at_start, 2),
        "packages": {name: version(name) for name in packages},
    }
    RESULTS.mkdir(exist_ok=True)
    told = {"machine": machine, "noisy": noisy, "rows": rows}
    (RESULTS / f"{bench}.json").write_text(json.dumps(told, indent=2) + "\n")
    return 0 if noisy or all(goal.is_ok for goal in goals) else 1


def _spread(seconds: tuple[float, ...]) -> dict[str, float]:
    every = [round(second * 1000, 3) for second in seconds]
    return {"median": statistics.median(every), "min": min(every), "max": max(every)}


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "?")
