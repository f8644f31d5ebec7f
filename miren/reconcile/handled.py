"""What a registry's handlers have handled already, as `status.handled.<controller>` remembers it.

    {"generation": 7, "grow": "2f61c09ae1b5d3aa", "greet": "!8ab1...", "paint": "?77d0..."}

For each handler a digest of what it handled; with `!` before it, it said that it never can. With
`?` or `~` it was called with something else since then, and failed or asked to be called again:
the world may be half-way, so it is called whatever the value is by then. A digest is of one entity
(its uid goes into it): what is created anew, or restored from a backup under another uid, is
handled anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b

from pydantic_core import to_jsonable_python

from miren.entities.entity import Entity

__all__ = ["GENERATION", "Handled", "digest"]

#: What stands beside the handlers' names, so that none may have this name.
GENERATION = "generation"
_REJECTED, _FAILED, _BEGUN = "!", "?", "~"


def digest(uid: str, value: object) -> str:
    """Return 16 hex digits that differ when the value does, the same ones in every process.

    Raises TypeError for what is no plain data (an open file say), and for whole entities, which
    differ after every write.
    """
    plain = value if isinstance(value, str | int) else _plain(value)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=8, key=uid.encode()[:64]).hexdigest()


def _plain(value: object) -> object:
    name = type(value).__name__
    if isinstance(value, Entity):
        raise TypeError(f"select parts of a {name}: all of it differs after every write")
    try:
        return to_jsonable_python(_ordered(value), by_alias=True, bytes_mode="base64")
    except ValueError as error:
        raise TypeError(f"a {name} is no plain data that could be compared later") from error


def _ordered(value: object) -> object:
    """Return a value whose parts have one order: that of a set differs between processes."""
    if isinstance(value, set | frozenset):
        return sorted((_ordered(each) for each in value), key=repr)
    if isinstance(value, Mapping):
        return {str(key): _ordered(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_ordered(each) for each in value]
    return value


class Handled:
    """One entity's record for one controller: what was handled before, and what is by now."""

    def __init__(self, recorded: Mapping[str, object]) -> None:
        self.is_new = not recorded  # this controller has never looked at the entity
        seen = recorded.get(GENERATION)
        self._seen = seen if isinstance(seen, int) else None
        self._now = dict(recorded)

    @property
    def is_failing(self) -> bool:
        """Whether a handler failed the last time it was called."""
        marks = (_REJECTED, _FAILED)
        return any(isinstance(each, str) and each.startswith(marks) for each in self._now.values())

    @property
    def now(self) -> Mapping[str, object]:
        """What is to be recorded."""
        return self._now

    def may_be_lost(self, generation: int) -> bool:
        """Return whether a spec may have come and gone since the last record.

        Whoever worked on it may have died before it could record that; a spec that is what it was
        is two generations away.
        """
        return self._seen is not None and generation > self._seen + 1

    def has(self, handler: str, digest: str) -> bool:
        """Return whether a handler has handled this."""
        return self._now.get(handler) == digest

    def knows(self, handler: str) -> bool:
        """Return whether a handler has handled anything of the entity, or rejected it."""
        return self._before(handler) != ""

    def has_rejected(self, handler: str, digest: str) -> bool:
        """Return whether a handler said of this that it never can."""
        return self._now.get(handler) == _REJECTED + digest

    def succeed(self, handler: str, digest: str | None) -> None:
        """Note that a handler has handled this; None where nothing need be remembered of it."""
        if digest is None:
            self._now.pop(handler, None)
        else:
            self._now[handler] = digest

    def begin(self, handler: str, *, has_failed: bool) -> None:
        """Note that a handler may have begun with what it has not handled."""
        self._now[handler] = (_FAILED if has_failed else _BEGUN) + self._before(handler)

    def let_be(self, handler: str) -> None:
        """Note that a handler that failed is not for the entity any more."""
        if str(self._now.get(handler, "")).startswith(_FAILED):
            before = self._before(handler)
            self.succeed(handler, _BEGUN + before if before else None)

    def reject(self, handler: str, digest: str) -> None:
        """Note that a handler will not handle this, however often it is asked."""
        self._now[handler] = _REJECTED + digest

    def _before(self, handler: str) -> str:
        """Return what stood there before the handler began with something else."""
        return str(self._now.get(handler, "")).lstrip(_FAILED + _BEGUN)

    def keep(self, handlers: frozenset[str], generation: int) -> None:
        """Forget handlers that are no more, and note the generation that was looked at."""
        for name in self._now.keys() - handlers - {GENERATION}:
            del self._now[name]
        self._now[GENERATION] = generation
