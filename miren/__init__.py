"""Miren: typed entities, a reconcile engine, and sandboxes on containerd and gVisor.

The names here are the public API of the embeddable part. They are loaded when first used, so
that programs which need only one of them, like the command line, start quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from miren.base.errors import InvalidInput, MirenError
    from miren.base.quantities import Duration, Quantity
    from miren.entities.client import (
        Added,
        Bookmark,
        Client,
        Deleted,
        Left,
        Modified,
        Propagation,
        Selection,
        Target,
    )
    from miren.entities.conversions import Converter
    from miren.entities.entity import Condition, ConditionStatus, Entity, Partial
    from miren.entities.keyring import Keyring
    from miren.entities.kinds import Column, Kinds, Scope
    from miren.entities.model import Map, Model, Ref, field
    from miren.entities.readiness import is_ready
    from miren.entities.secrets import SecretText
    from miren.entities.store.memory import MemoryStore
    from miren.entities.store.sqlite import SQLiteStore
    from miren.entities.store_client import StoreClient
    from miren.reconcile.context import Context
    from miren.reconcile.controller import Controller, index, watches
    from miren.reconcile.daemons import DaemonContext
    from miren.reconcile.engine import Engine
    from miren.reconcile.registry import Change, Registry
    from miren.reconcile.results import LOW, NORMAL, Key, Permanent, Requeue, Temporary

__all__ = [
    "LOW",
    "NORMAL",
    "Added",
    "Bookmark",
    "Change",
    "Client",
    "Column",
    "Condition",
    "ConditionStatus",
    "Context",
    "Controller",
    "Converter",
    "DaemonContext",
    "Deleted",
    "Duration",
    "Engine",
    "Entity",
    "InvalidInput",
    "Key",
    "Keyring",
    "Kinds",
    "Left",
    "Map",
    "MemoryStore",
    "MirenError",
    "Model",
    "Modified",
    "Partial",
    "Permanent",
    "Propagation",
    "Quantity",
    "Ref",
    "Registry",
    "Requeue",
    "SQLiteStore",
    "Scope",
    "SecretText",
    "Selection",
    "StoreClient",
    "Target",
    "Temporary",
    "field",
    "index",
    "is_ready",
    "watches",
]

_HOMES = {
    "miren.base.errors": ("InvalidInput", "MirenError"),
    "miren.base.quantities": ("Duration", "Quantity"),
    "miren.entities.client": (
        "Added",
        "Bookmark",
        "Client",
        "Deleted",
        "Left",
        "Modified",
        "Propagation",
        "Selection",
        "Target",
    ),
    "miren.entities.conversions": ("Converter",),
    "miren.entities.entity": ("Condition", "ConditionStatus", "Entity", "Partial"),
    "miren.entities.keyring": ("Keyring",),
    "miren.entities.kinds": ("Column", "Kinds", "Scope"),
    "miren.entities.model": ("Map", "Model", "Ref", "field"),
    "miren.entities.readiness": ("is_ready",),
    "miren.entities.secrets": ("SecretText",),
    "miren.entities.store.memory": ("MemoryStore",),
    "miren.entities.store.sqlite": ("SQLiteStore",),
    "miren.entities.store_client": ("StoreClient",),
    "miren.reconcile.context": ("Context",),
    "miren.reconcile.controller": ("Controller", "index", "watches"),
    "miren.reconcile.daemons": ("DaemonContext",),
    "miren.reconcile.engine": ("Engine",),
    "miren.reconcile.registry": ("Change", "Registry"),
    "miren.reconcile.results": ("LOW", "NORMAL", "Key", "Permanent", "Requeue", "Temporary"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'miren' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
