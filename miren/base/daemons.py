"""A daemon: started when needed, adopted when it runs, restarted when it dies, left running.

It outlives us, so that a restart of ours finds everything as it was. A subclass says how its
process is known, how it is started, and how it is asked whether it answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

from miren.base.backoff import Backoff
from miren.base.errors import MirenError, RuntimeFailure
from miren.base.processes import is_alive, kill_all, terminate, wait_ended

__all__ = ["LONGEST_SOCKET", "Daemon"]

log = logging.getLogger(__name__)

# struct sockaddr_un holds 108 bytes, the last of them zero.
LONGEST_SOCKET = 107

_BACKOFF = Backoff(first=0.1, cap=10.0)
# More than the traces of all goroutines that Go prints when it gives up.
_TAIL_BYTES = 1024 * 1024

# What Go says first of all when a program ends itself; the traces that follow tell an operator
# nothing. Else the last line that a program logged as fatal, in JSON or in pairs.
_PANIC = re.compile(r"panic: |fatal error: ")
_FATAL = re.compile(r'.*("level":"(fatal|panic)"|\blevel=(fatal|panic)\b)')


class Daemon(ABC):
    """`async with` starts or adopts it and keeps it running; leaving leaves it running.

    One that does not answer on `socket` within `ready_within` seconds is killed. What it says goes
    to `log`.
    """

    name: ClassVar[str]

    def __init__(self, socket: Path, log: Path, *, ready_within: float = 30.0) -> None:
        self.socket = socket
        self.log = log
        self._ready_within = ready_within
        self._supervisor: asyncio.Task[None] | None = None
        self._log_begin = 0  # where in the log the words of the process that we started begin

    async def __aenter__(self) -> Self:
        pid = await self.start()
        self._supervisor = asyncio.create_task(self._supervise(pid), name=self.name)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
            self._supervisor = None

    @abstractmethod
    def pid(self) -> int | None:
        """Return the running daemon's process id, whoever started it."""

    async def _prepare(self) -> None:  # noqa: B027  # most have nothing to prepare
        """Do what has to be done before it is started; raise RuntimeFailure to refuse that."""

    @abstractmethod
    def _spawn(self) -> int:
        """Start it and return its process id; raise RuntimeFailure when it cannot be."""

    @abstractmethod
    async def _is_ready(self) -> bool:
        """Ask it once, in a few seconds at most, whether it serves."""

    async def start(self) -> int:
        """Make sure that it runs and answers; return its process id.

        Raises RuntimeFailure when it cannot be started, with the end of its log.
        """
        pid = self.pid()
        if pid is not None:
            if await self._answers(pid):
                return pid
            await terminate(pid, grace=min(5.0, self._ready_within))
        await self._prepare()
        self._log_begin = self.log.stat().st_size if self.log.exists() else 0
        pid = self._spawn()
        try:
            is_ready = await self._answers(pid)
        except asyncio.CancelledError:
            # One that is being started again stays: it outlives whoever looks after it.
            if self._supervisor is None:
                await kill_all([pid])
            raise
        if not is_ready:
            await kill_all([pid])
            raise RuntimeFailure(
                f"{self.name} does not answer on {self.socket}: {self.last_words()}",
                hint=f"see {self.log}",
            )
        return pid

    async def stop(self) -> None:
        """End it, if it runs. Raises RuntimeFailure when it cannot be ended."""
        await self.__aexit__()
        pid = self.pid()
        if pid is not None:
            await terminate(pid, grace=10.0)

    def last_words(self) -> str:
        """Return why it ended as far as its log says, else its last line, or that there is none.

        What one that we started before the last has said does not count.
        """
        try:
            with self.log.open("rb") as file:
                end = file.seek(0, 2)
                begin = self._log_begin if self._log_begin <= end else 0
                file.seek(max(begin, end - _TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return "it wrote no log"
        return _reason(lines) if lines else "it logged nothing"

    async def _answers(self, pid: int) -> bool:
        """Return whether it answers in time; give up early when its process has ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._ready_within):
                while is_alive(pid):
                    if await self._is_ready():
                        return True
                    await asyncio.sleep(0.02)
                return False
        log.warning("%s %d does not answer on %s", self.name, pid, self.socket)
        return False

    async def _supervise(self, pid: int) -> None:
        rng, failures = random.Random(), 0  # noqa: S311  # spreads retries
        loop = asyncio.get_running_loop()
        while True:
            since = loop.time()
            await wait_ended(pid)
            failures = 1 if loop.time() - since > _BACKOFF.cap else failures + 1
            log.warning("%s ended; starting it again: %s", self.name, self.last_words())
            pid = await self._restart(failures, rng)

    async def _restart(self, failures: int, rng: random.Random) -> int:
        while True:
            if failures > 1:
                await asyncio.sleep(_BACKOFF.delay(failures - 1, rng))
            try:
                return await self.start()
            except MirenError as error:
                failures += 1
                log.error("%s cannot be started: %s", self.name, error.message)  # noqa: TRY400


def _reason(lines: Sequence[str]) -> str:
    for sign in (_PANIC, _FATAL):
        for line in reversed(lines):
            if sign.match(line):
                return line
    return lines[-1]
