"""Dataclasses that are cheap to build: for what is made by the thousand on every list and watch.

`dataclass(frozen=True)` sets each field through a call of its own, which makes building one three
times as slow as need be. A record is as frozen for the type checker, compares and hashes by value
as well, and leaves out the guard at run time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

__all__ = ["record"]

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def record(described: type[_T]) -> type[_T]:
    """Make a class a dataclass with slots whose instances nobody changes."""
    return dataclass(slots=True, unsafe_hash=True)(described)
