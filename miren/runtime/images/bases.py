"""Base layers made of what this host has installed: its static busybox and its Python.

The Python is the system's (/usr/bin/python3), not the one of a virtual environment, with its
standard library and the shared libraries that the loader names for them; tests, caches and
graphical parts stay behind. One host gives one layer, byte for byte.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from miren.base.errors import RuntimeFailure
from miren.runtime.images.builder import Entry, File, Folder, Symlink

__all__ = ["busybox_layer", "python_layer"]

_BUSYBOX = Path("/bin/busybox")
_PYTHON = Path("/usr/bin/python3")
_DEADLINE = 20.0

# Not needed to run a server: 30 of the 50 MB.
_LEFT_OUT = {
    "__pycache__", "config", "dist-packages", "ensurepip", "idlelib", "lib2to3", "pydoc_data",
    "site-packages", "test", "tests", "tkinter", "turtledemo",
}  # fmt: skip
_LIBRARY = re.compile(r"(?:=>\s*)?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)

# Program header type of a dynamic executable's interpreter (elf(5), PT_INTERP).
_PT_INTERP = 3

_ACCOUNTS: dict[str, Entry] = {
    "etc/group": File(b"root:x:0:\nnogroup:x:65534:\n"),
    "etc/passwd": File(
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
    ),
    "root": Folder(0o700),
    "tmp": Folder(0o1777),
}


def busybox_layer() -> dict[str, Entry]:
    """Return the host's busybox with a link for each of its applets.

    Raises RuntimeFailure when there is none, or one that needs libraries.
    """
    hint = "install a static one: apt-get install busybox-static"
    if not _BUSYBOX.exists():
        raise RuntimeFailure(f"there is no {_BUSYBOX} for the base image", hint=hint)
    if not is_static(_BUSYBOX):
        raise RuntimeFailure(f"{_BUSYBOX} is not statically linked", hint=hint)
    applets = set(_output([str(_BUSYBOX), "--list"]).split()) - {"busybox"}
    links: dict[str, Entry] = {f"bin/{applet}": Symlink("busybox") for applet in applets}
    return {**_ACCOUNTS, "bin/busybox": File(_BUSYBOX, 0o755), **links}


def python_layer() -> dict[str, Entry]:
    """Return the host's own Python. Raises RuntimeFailure when it has none."""
    if not _PYTHON.exists():
        raise RuntimeFailure(
            f"there is no {_PYTHON} for the base image", hint="apt-get install python3"
        )
    code = "import sys, sysconfig; print(sys.base_prefix, sysconfig.get_path('stdlib'), sep='\\n')"
    prefix, folder = _output([str(_PYTHON), "-I", "-S", "-c", code]).splitlines()
    program, stdlib = _PYTHON.resolve(), Path(folder)
    if prefix != "/usr":
        raise RuntimeFailure(f"{_PYTHON} is not the system's Python: it belongs to {prefix}")

    files = list(_library_files(stdlib))
    binaries = [program, *(path for path in files if path.suffix == ".so")]
    layer: dict[str, Entry] = {_inside(path): File(path.resolve()) for path in files}
    layer |= {_inside(path): File(path.resolve(), 0o755) for path in _shared(binaries)}
    layer[_inside(program)] = File(program, 0o755)
    layer["usr/bin/python3"] = Symlink(program.name)
    layer["usr/bin/python"] = Symlink(program.name)
    return layer


def is_static(program: Path) -> bool:
    """Return whether the 64-bit ELF executable names no interpreter that would load libraries."""
    with program.open("rb") as stream:
        header = stream.read(64)
        if header[:5] != b"\x7fELF\x02":
            return False
        (offset,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        stream.seek(offset)
        table = stream.read(size * count)
    kinds = [struct.unpack_from("<I", table, index * size)[0] for index in range(count)]
    return _PT_INTERP not in kinds


def _library_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in _LEFT_OUT or path.name.startswith("config-"):
            continue
        if path.is_dir():
            yield from _library_files(path)
        elif path.is_file():
            yield path


def _shared(binaries: Sequence[Path]) -> set[Path]:
    """Return every shared library that the loader would map for these, itself included."""
    listing = _output(["ldd", *(str(path) for path in binaries)])
    return {Path(match) for match in _LIBRARY.findall(listing)}


def _inside(path: Path) -> str:
    return str(path).lstrip("/")


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=_DEADLINE
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeFailure(f"{command[0]} could not be asked what it consists of") from error
    return done.stdout
