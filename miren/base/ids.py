"""Names that never repeat."""

from __future__ import annotations

import base64
import os
import random
import secrets
from collections import deque

__all__ = ["new_instance_id", "new_uid"]

_UID_BYTES = 13
_AT_ONCE = 64

#: What uids will be made of. Asking the system lets another thread have the interpreter, so it is
#: asked for many at a time; a child process must not have its parent's.
_drawn: deque[bytes] = deque()
os.register_at_fork(after_in_child=_drawn.clear)


def new_uid(rng: random.Random | None = None) -> str:
    """Return 20 base32 characters (100 bits). Pass `rng` only where runs must repeat."""
    return _letters(20, _draw() if rng is None else rng.randbytes(_UID_BYTES))


def new_instance_id() -> str:
    """Return the 6 characters that mark everything one state folder owns on a host."""
    return _letters(6, secrets.token_bytes(4))


def _draw() -> bytes:
    while True:
        try:
            return _drawn.pop()  # one step, whatever other threads do
        except IndexError:
            many = secrets.token_bytes(_UID_BYTES * _AT_ONCE)
            _drawn.extend(many[at : at + _UID_BYTES] for at in range(0, len(many), _UID_BYTES))


def _letters(count: int, drawn: bytes) -> str:
    # RFC 4648 base32 in lower case: safe in host names, paths and device names.
    return base64.b32encode(drawn).decode().lower()[:count]
