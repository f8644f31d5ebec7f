"""Text from elsewhere as a terminal may see it.

Names are checked before they are stored; annotations, values and messages are free text. A control
character in one could move the cursor, and a bidirectional mark could show one name as another.
"""

from __future__ import annotations

import unicodedata

__all__ = ["printable"]

#: Controls, formats (bidirectional marks among them), halves of characters, and separators of
#: lines and paragraphs; see Unicode Standard Annex 44, "General Category Values".
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def printable(text: str, *, keep: str = "") -> str:
    """Return `text` with what a terminal would act on written as escapes, but for `keep`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        each if each in keep or unicodedata.category(each) not in _HIDDEN else _escaped(each)
        for each in text
    )


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
