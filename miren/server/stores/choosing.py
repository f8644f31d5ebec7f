"""Which store a state folder has: `store.json` in it says, and is what a change of stores changes.

A restore, an import or a move makes the new store beside the old one, under a name of its own, and
then replaces this one file. So at every moment one of the two is the store, whole, whatever
interrupts. What is being made is noted as `pending`, for the next start to remove.

The configuration says which store somebody wants. Where that is not the one that the folder has,
nothing is started: an empty store beside a full one would look as if everything had been deleted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from miren.base.errors import InvalidInput, Refused
from miren.base.ids import new_instance_id
from miren.server.config import Config

__all__ = ["Backend", "Choice", "choice_of", "fresh", "note", "recorded"]

Backend = Literal["sqlite", "etcd"]

_FILE = "store.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Choice:
    """One store of a state folder.

    `place` is SQLite's file, or the data folder of the etcd that the server runs itself; it is
    empty for an etcd that others run, and for a store in memory.
    """

    backend: Backend | Literal["memory"]
    place: str = ""
    pending: Choice | None = None

    @property
    def is_managed(self) -> bool:
        """Whether it is an etcd that the server runs itself."""
        return self.backend == "etcd" and bool(self.place)

    def path(self, state_dir: Path) -> Path:
        """Return where its data lies."""
        return state_dir / "etcd" / self.place if self.is_managed else state_dir / self.place

    def told(self) -> str:
        """Return it in words."""
        if self.backend == "etcd":
            return "an etcd of the server's own" if self.is_managed else "an etcd cluster"
        return {"sqlite": "SQLite", "memory": "memory"}[self.backend]


def choice_of(config: Config) -> Choice:
    """Return the store to start with; a folder without one gets what the configuration wants.

    Raises Refused when the folder has another one than the configuration wants, InvalidInput when
    the configuration contradicts itself.
    """
    wanted = _wanted(config)
    found = recorded(config.server.state_dir)
    if found is None:
        return wanted or Choice("sqlite", "store.db")
    if wanted is None and found.backend == "etcd" and not found.is_managed:
        raise InvalidInput(
            f"the store of {config.server.state_dir} is an etcd cluster, and nothing says where",
            hint="say it with --etcd-endpoints, or as store.etcd_endpoints",
        )
    found = replace(found, pending=None)
    if wanted is None:
        return found
    if (wanted.backend, wanted.is_managed) != (found.backend, found.is_managed):
        raise Refused(
            f"the store of {config.server.state_dir} is {found.told()}, "
            f"and the configuration wants {wanted.told()}",
            hint=_way(found, wanted),
        )
    return found


def recorded(state_dir: Path) -> Choice | None:
    """Return the store that a state folder has, or None when it has none yet.

    Raises InvalidInput when the note of it cannot be read.
    """
    path = state_dir / _FILE
    try:
        told = json.loads(path.read_bytes())
        if told["format"] > _FORMAT:
            raise Refused(f"{path} was written by a newer Miren", hint="run that one")
        pending = told.get("pending")
        return replace(_parsed(told), pending=_parsed(pending) if pending else None)
    except FileNotFoundError:
        # A folder from before there was a choice.
        return Choice("sqlite", "store.db") if (state_dir / "store.db").exists() else None
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{path} cannot be read: {error}",
            hint='it says {"format": 1, "backend": "sqlite", "place": "store.db"}, or the like',
        ) from error


def note(state_dir: Path, choice: Choice) -> None:
    """Make `choice` the store of the folder, at one stroke that survives a power cut."""
    told: dict[str, object] = {"format": _FORMAT, "backend": choice.backend, "place": choice.place}
    if choice.pending and choice.pending.place:
        told["pending"] = {"backend": choice.pending.backend, "place": choice.pending.place}
    new = state_dir / f"{_FILE}.new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(told) + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(state_dir / _FILE)
    folder = os.open(state_dir, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def fresh(backend: Backend) -> Choice:
    """Return a store of the server's own with a name that no other has."""
    mark = new_instance_id()
    return Choice(backend, f"store-{mark}.db" if backend == "sqlite" else f"data-{mark}")


def _parsed(told: Mapping[str, Any]) -> Choice:
    backend, place = told["backend"], told["place"]
    if backend not in ("sqlite", "etcd") or not isinstance(place, str):
        raise ValueError(f"no store is {backend!r} at {place!r}")
    if "/" in place or place in (".", "..") or (backend == "sqlite" and not place):
        raise ValueError(f"{place!r} is no name of a store")
    return Choice(backend, place)


def _wanted(config: Config) -> Choice | None:
    """Return what the configuration wants, or None when it leaves that to the folder."""
    store = config.store
    # With another backend the endpoints only say where a move to etcd goes.
    if store.etcd_endpoints and store.backend in (None, "etcd"):
        return Choice("etcd")
    match store.backend:
        case None:
            return None
        case "sqlite":
            return Choice("sqlite", "store.db")
        case "etcd":
            return Choice("etcd", "data")
    return Choice("memory")


def _way(found: Choice, wanted: Choice) -> str:
    if wanted.backend == "memory":
        return "give the server another state_dir"
    if found.backend != wanted.backend:
        return (
            f"start it with backend {found.backend}, then `miren store move --to {wanted.backend}`"
        )
    return "start it as it was, `miren store export`, then `miren store import` into the other"
