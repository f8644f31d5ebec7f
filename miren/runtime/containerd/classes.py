"""The runtime classes: which OCI runtime a container runs under."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from miren.base.errors import InvalidInput, RuntimeFailure
from miren.base.quantities import Quantity
from miren.runtime.containerd.places import Places
from miren.runtime.containerd.wrapper import install_wrapper

__all__ = ["CLASSES", "binary_of", "check_memory", "find_program", "install_classes"]

CLASSES = ("runsc", "runc")

_HINTS = {
    "runsc": "install gVisor's runsc: apt-get install runsc, on Debian 12 from bookworm-backports",
    "runc": "apt-get install runc",
}
_USUAL = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def find_program(name: str) -> Path | None:
    """Return where the program is: on our PATH, or where a system has its own."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *_USUAL]))
    return Path(found) if found else None


#: gVisor's own kernel lives inside the container's limit; with less it is killed as it starts
#: (measured with release 20240729: 12 MiB fail, 16 MiB run).
_LEAST_MEMORY = {"runsc": 16 << 20}


def check_memory(runtime_class: str, memory: int | None) -> None:
    """Raise InvalidInput for a limit that the class cannot start in."""
    least = _LEAST_MEMORY.get(runtime_class, 0)
    if memory is not None and memory < least:
        raise InvalidInput(
            f"{Quantity(memory)} of memory are too little: {runtime_class} itself needs "
            f"{Quantity(least)}",
            hint=f"set memory to {Quantity(least)} and what the program needs",
        )


def binary_of(runtime_class: str, places: Places) -> Path:
    """Return the program a shim starts for the class.

    Raises InvalidInput for an unknown class, RuntimeFailure when its program is not installed.
    """
    if runtime_class not in CLASSES:
        raise InvalidInput(
            f"there is no runtime class {runtime_class!r}", hint=f"use {' or '.join(CLASSES)}"
        )
    binary = find_program(runtime_class)
    if binary is None:
        raise RuntimeFailure(f"{runtime_class} is not installed", hint=_HINTS[runtime_class])
    return places.runsc_wrapper if runtime_class == "runsc" else binary


async def install_classes(places: Places) -> None:
    """Write what the classes need beside their programs."""
    runsc = find_program("runsc")
    if runsc is not None:
        await install_wrapper(places.runsc_wrapper, runsc)
