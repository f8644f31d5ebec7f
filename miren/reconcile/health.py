"""How an engine does, as answers to what its surroundings ask.

Alive: it works, and is not to be started anew. Ready: every cache knows what there is and follows
the store, so that all controllers can work. An engine that stands by for another one is ready. A
plugin that did not load is told of and makes nothing unready: the others do their work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

from miren.reconcile.compiled import Compiled
from miren.reconcile.informer import Informer
from miren.reconcile.runner import Runner

__all__ = ["Check", "ControllerHealth", "EngineHealth", "health_of"]


@dataclass(frozen=True, slots=True)
class ControllerHealth:
    """How one controller does. A plugin that did not load has only a name and an error.

    It `is_running` while its engine does; `daemons` are how many of its run beside that.
    `troubles` are those that no reconcile tells of: of daemons, say. `leader` leads the election
    it works under; it `is_leading` where keys may be worked on here, in these `slots` if it has
    such.
    """

    name: str
    is_running: bool
    queued: int = 0
    reconciles: int = 0
    errors: int = 0
    last_error: str | None = None
    troubles: Sequence[str] = ()
    is_leading: bool = True
    leader: str | None = None
    slots: tuple[int, ...] | None = None
    daemons: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that readiness depends on; `trouble` says why it is not as it should be."""

    name: str
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class EngineHealth(Sequence[ControllerHealth]):
    """How an engine does. As a sequence it is that of its `controllers`."""

    is_alive: bool
    checks: tuple[Check, ...]
    controllers: tuple[ControllerHealth, ...]

    @property
    def is_ready(self) -> bool:
        """Whether it is alive and no check found trouble."""
        return self.is_alive and not any(check.trouble for check in self.checks)

    @overload
    def __getitem__(self, index: int) -> ControllerHealth: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ControllerHealth]: ...
    def __getitem__(self, index: int | slice) -> ControllerHealth | Sequence[ControllerHealth]:
        return self.controllers[index]

    def __len__(self) -> int:
        return len(self.controllers)


def health_of(
    *,
    is_alive: bool,
    runners: Iterable[Runner[Any]],
    informers: Iterable[Informer[Any]],
    broken: Iterable[ControllerHealth],
) -> EngineHealth:
    """Return how an engine of these parts does; `broken` are plugins that did not load."""
    running = list(runners)
    checks = (
        Check("engine", None if is_alive else "it does not run"),
        *(Check(f"cache/{informer.name}", _trouble(informer)) for informer in informers),
        *(
            Check(f"controller/{each.controller.name}", _missing(each) if is_alive else "stopped")
            for each in running
        ),
    )
    return EngineHealth(is_alive, checks, (*(_of(each, is_alive) for each in running), *broken))


def _trouble(informer: Informer[Any]) -> str | None:
    if not informer.is_synced.is_set():
        return "not listed yet"
    return None if informer.is_following else "does not follow the store"


def _missing(runner: Runner[Any]) -> str | None:
    missing = [each.name for each in runner.informers if not each.is_synced.is_set()]
    return f"waits for the cache of {', '.join(missing)}" if missing else None


def _of(runner: Runner[Any], is_alive: bool) -> ControllerHealth:
    controller = runner.controller
    return ControllerHealth(
        controller.name,
        is_running=is_alive,
        queued=len(runner.queue),
        reconciles=runner.reconciles,
        errors=runner.errors,
        last_error=runner.last_error,
        is_leading=runner.permission.is_leading,
        leader=runner.permission.leader,
        slots=runner.permission.slots,
        troubles=controller.troubles(),
        daemons=controller.daemons if isinstance(controller, Compiled) else 0,
    )
