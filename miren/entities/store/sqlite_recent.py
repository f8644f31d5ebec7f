"""What the writer of a SQLite store read or wrote last, so that hot keys cost it no query.

Values are held in two generations. What is used moves into the young one; when that is full, it
becomes the old one, and what was not used since then is forgotten with the old one before it.
"""

from __future__ import annotations

from miren.entities.store.api import KeyValue

__all__ = ["Known", "Recent"]

# How much a generation holds: bytes of values, and what a key takes up besides its value.
_BYTES = 8 << 20
_KEY_BYTES = 400

#: A key's newest value and the id of its row; None and None for a key that does not exist.
Known = tuple[KeyValue | None, int | None]


class Recent:
    """The newest values of the keys used last. Right only while its user tells it every write."""

    __slots__ = ("_bytes", "_old", "_young")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Know nothing, as after a write that was undone."""
        self._young: dict[str, Known] = {}
        self._old: dict[str, Known] = {}
        self._bytes = 0

    def find(self, key: str) -> Known | None:
        """Return what is known of `key`; None when nothing is, not even that it is absent."""
        known = self._young.get(key)
        if known is None:
            known = self._old.get(key)
            if known is not None:
                self.learn(key, *known)
        return known

    def learn(self, key: str, value: KeyValue | None, id: int | None) -> None:
        """Take what a key holds now."""
        self._young[key] = value, id
        # A key that is written again is counted again: what is held can only be less.
        self._bytes += _KEY_BYTES + (len(value.value) if value else 0)
        if self._bytes > _BYTES:
            self._old, self._young = self._young, {}
            self._bytes = 0
