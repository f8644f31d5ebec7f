"""What somebody probably meant when a word is not known."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["closest"]


def closest(word: str, known: Iterable[str], *, shown: str = "{}") -> str | None:
    """Return "did you mean ...?" for the known word nearest to `word`, or None.

    `shown` is how that word is written where it is used.
    """
    import difflib  # only here: most commands suggest nothing, and should start fast

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {shown.format(found[0])!r}?" if found else None
