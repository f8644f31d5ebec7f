"""Words that name kinds: their plural, and which spellings are one word."""

from __future__ import annotations

__all__ = ["folded", "plural"]


def folded(word: str) -> str:
    """Return what all spellings of a word share: `App-Version`, `app_version`, `appversion`."""
    return word.lower().replace("-", "").replace("_", "")


def plural(word: str) -> str:
    """Return the plural of a lower-case noun: `disk`, `class`, `policy` as `policies`."""
    if word.endswith(("s", "x", "ch", "sh")):
        return f"{word}es"
    return f"{word[:-1]}ies" if word.endswith("y") and word[-2:-1] not in "aeiou" else f"{word}s"
