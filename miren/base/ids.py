"""Names that never repeat."""

from __future__ import annotations

import base64
import random
import secrets

__all__ = ["new_instance_id", "new_uid"]


def new_uid(rng: random.Random | None = None) -> str:
    """Return 20 base32 characters (100 bits). Pass `rng` only where runs must repeat."""
    return _letters(20, rng)


def new_instance_id() -> str:
    """Return the 6 characters that mark everything one state folder owns on a host."""
    return _letters(6, None)


def _letters(count: int, rng: random.Random | None) -> str:
    # RFC 4648 base32 in lower case: safe in host names, paths and device names.
    size = count * 5 // 8 + 1
    drawn = secrets.token_bytes(size) if rng is None else rng.randbytes(size)
    return base64.b32encode(drawn).decode().lower()[:count]
