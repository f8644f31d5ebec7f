"""Every store there is, empty, for tests that hold all of them to the same."""

from __future__ import annotations

import itertools
from pathlib import Path

from miren.entities.store.api import Store
from miren.entities.store.etcd.store import EtcdStore
from miren.entities.store.memory import MemoryStore
from miren.entities.store.sqlite import SQLiteStore
from tests.etcd import Member

__all__ = ["BACKENDS", "make_store", "new_prefix"]

BACKENDS = ("memory", "sqlite", "etcd")

_numbers = itertools.count(1)


def new_prefix() -> str:
    """Return a prefix in etcd that no other test of this run has."""
    return f"/t{next(_numbers)}"


def make_store(backend: str, *, folder: Path, etcd: Member) -> Store:
    """Return an empty store, not open yet."""
    match backend:
        case "memory":
            return MemoryStore()
        case "sqlite":
            return SQLiteStore(folder / "store.db", durability="relaxed")
        case "etcd":
            return EtcdStore([etcd.endpoint], prefix=new_prefix())
    raise AssertionError(backend)
