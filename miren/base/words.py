"""English, as far as names of kinds need it."""

from __future__ import annotations

__all__ = ["plural"]


def plural(word: str) -> str:
    """Return the plural of a lower-case noun: `disk`, `class`, `policy` as `policies`."""
    if word.endswith(("s", "x", "ch", "sh")):
        return f"{word}es"
    return f"{word[:-1]}ies" if word.endswith("y") and word[-2:-1] not in "aeiou" else f"{word}s"
