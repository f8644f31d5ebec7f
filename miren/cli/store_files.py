"""The files of exports: one to be made, and one to be read; `-` is a standard stream."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from miren.base.errors import InvalidInput, MirenError, Refused
from miren.base.partial import partial_file

__all__ = ["new_file", "readable_file"]


@contextmanager
def new_file(name: str) -> Iterator[IO[bytes]]:
    """Yield a new file, mode 0600, which is there only once the body is through."""
    if name == "-":
        yield sys.stdout.buffer
        return
    path = Path(name)
    taken = Refused(f"{path} exists", hint="give the export another name")
    try:
        with partial_file(path) as part, part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise taken from error
    except OSError as error:
        raise MirenError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def readable_file(name: str) -> Iterator[Path]:
    """Yield the file to import; what comes from standard input is kept in one meanwhile."""
    if name != "-":
        if not Path(name).is_file():
            raise InvalidInput(f"no file {name}")
        yield Path(name)
        return
    import shutil
    import tempfile

    with tempfile.NamedTemporaryFile(prefix="miren-import-") as file:  # mode 0600
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        yield Path(file.name)
