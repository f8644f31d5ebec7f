"""Names that never repeat."""

from __future__ import annotations

import random
import secrets

__all__ = ["new_instance_id", "new_uid"]

# RFC 4648 base32, lower case, without padding: safe in host names, paths and device names.
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def new_uid(rng: random.Random | None = None) -> str:
    """Return 20 base32 characters (100 bits). Pass `rng` only where runs must repeat."""
    return _letters(20, rng)


def new_instance_id() -> str:
    """Return the 6 characters that mark everything one state folder owns on a host."""
    return _letters(6, None)


def _letters(count: int, rng: random.Random | None) -> str:
    pick = secrets.choice if rng is None else rng.choice
    return "".join(pick(_ALPHABET) for _ in range(count))
