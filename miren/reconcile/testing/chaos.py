"""What befalls the engines of a simulation and its store, a blow every few seconds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

from miren.entities.store.api import Store
from miren.reconcile.testing.faults import Fault
from miren.reconcile.testing.machine import Machine

__all__ = ["Chaos"]

_PAUSE = 4.0  # seconds between two blows at most
_CUT = 8.0
_DOWN = 5.0
_JUMP = 3600.0


class Chaos:
    """Deals out blows while there are faults; `note` puts them into the trace."""

    def __init__(
        self,
        machines: Sequence[Machine],
        store: Store,
        *,
        faults: Callable[[], frozenset[Fault]],
        rng: random.Random,
        note: Callable[[str], None],
    ) -> None:
        self._machines = machines
        self._store = store
        self._faults = faults
        self._rng = rng
        self._note = note
        self._blows: Mapping[Fault, Callable[[Machine], Awaitable[None]]] = {
            Fault.UNAVAILABLE: self._cut,
            Fault.WATCH_DROP: self._drop,
            Fault.COMPACTION: self._compact,
            Fault.CRASH: self._crash,
            Fault.LEADER_LOSS: self._depose,
            Fault.CLOCK: self._jump,
        }
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Deal out blows until cancelled."""
        while True:
            await asyncio.sleep(self._rng.random() * _PAUSE)
            async with self._turn:
                possible = [blow for fault, blow in self._blows.items() if fault in self._faults()]
                up = [machine for machine in self._machines if machine.is_up]
                if possible and up:
                    await self._rng.choice(possible)(self._rng.choice(up))
            await self._raise_up()

    async def repair(self) -> None:
        """Undo what can be undone: whoever crashed by chance is started again."""
        async with self._turn:
            for machine in self._machines:
                machine.jump = timedelta()
                if machine.is_up:
                    machine.connection.mend()
                self._start(machine)

    async def _raise_up(self) -> None:
        down = [machine for machine in self._machines if machine.returns]
        if not down:
            return
        await asyncio.sleep(self._rng.random() * _DOWN)
        async with self._turn:
            for machine in down:
                self._start(machine)

    def _start(self, machine: Machine) -> None:
        if machine.returns and not machine.is_up:
            machine.make()
            machine.begin()

    async def _cut(self, machine: Machine) -> None:
        seconds = self._rng.random() * _CUT
        self._note(f"{machine.name} reaches nobody for {seconds:.1f} s")
        machine.connection.cut(seconds)

    async def _drop(self, machine: Machine) -> None:
        self._note(f"all watches of {machine.name} break off")
        machine.connection.drop_watches()

    async def _compact(self, machine: Machine) -> None:
        revision = (await self._store.status()).revision
        self._note(f"the history up to {revision} is forgotten")
        await self._store.compact(revision)
        if Fault.WATCH_DROP in self._faults() and self._rng.random() < 1 / 2:
            machine.connection.drop_watches()  # so that it is missed

    async def _crash(self, machine: Machine) -> None:
        await machine.crash()
        machine.returns = True

    async def _depose(self, machine: Machine) -> None:
        self._note(f"the leases of {machine.name} end")
        await machine.connection.end_leases()

    async def _jump(self, machine: Machine) -> None:
        machine.jump = timedelta(seconds=(self._rng.random() - 0.5) * 2 * _JUMP)
        self._note(f"the clock of {machine.name} is off by {machine.jump}")
