"""Folders of test runs: short, marked with their owner, found again when the owner died.

A run that is killed cannot clean up. The next one that needs the same sort of folder does it.
"""

from __future__ import annotations

import os
import select
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["abandoned", "claim", "end_servers"]

_OWNER = "owner"


def claim(sort: str, *, within: Path | None = None) -> Path:
    """Make a folder of that sort; it is ours for as long as this process lives."""
    folder = Path(tempfile.mkdtemp(prefix=sort, dir=within))
    (folder / _OWNER).write_text(str(os.getpid()))
    return folder


def abandoned(sort: str, *, within: Path | None = None) -> Iterator[Path]:
    """Yield the folders of that sort whose owners are gone, their servers ended."""
    for note in (within or Path(tempfile.gettempdir())).glob(f"{sort}*/{_OWNER}"):
        owner = note.read_text()
        if owner.isdecimal() and not Path("/proc", owner).exists():
            end_servers(note.parent)
            yield note.parent


def end_servers(folder: Path) -> None:
    """Kill every `miren server` that works below the folder, and wait until it is gone."""
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            words = (process / "cmdline").read_text().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "server" in words and any(word.startswith(f"{folder}/") for word in words):
            descriptor = os.pidfd_open(int(process.name))
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                # It becomes readable when the process has ended (pidfd_open(2)).
                assert select.select([descriptor], [], [], 10)[0], "it did not end within 10 s"
            finally:
                os.close(descriptor)
