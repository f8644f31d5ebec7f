"""The runtime classes: which OCI runtime a container runs under."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from miren.base.errors import InvalidInput, RuntimeFailure
from miren.runtime.containerd.places import Places
from miren.runtime.containerd.wrapper import install_wrapper

__all__ = ["CLASSES", "binary_of", "find_program", "install_classes"]

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
