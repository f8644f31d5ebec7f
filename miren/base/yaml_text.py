"""Plain JSON data written as YAML that reads back as the same data, here and elsewhere.

Readers disagree about what a bare word is: `010`, `1e3`, `0o17`, `yes` and `12:30` are texts to
some and numbers or booleans to others. A text that either YAML 1.1 or 1.2 would take for
something else is quoted. Long lines are never folded, so that documents compare line by line; a
text of several lines is shown as such where that is exact. What a terminal would act on (controls,
marks of writing direction) is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from miren.base.yaml import PLAIN_SCALARS

__all__ = ["dump", "dump_all"]

_TAG = "tag:yaml.org,2002:"
#: Marks that change the direction of writing (Unicode Standard Annex 9, section 2).
_DIRECTIONS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_DIRECTED = re.compile(f"[{_DIRECTIONS}]")
#: Characters that only escapes keep: controls, and what some readers take for a line break.
_UNUSUAL = re.compile(rf"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff{_DIRECTIONS}]")


def dump(document: object) -> str:
    """Return one document as YAML, without a `---` before it."""
    return dump_all([document])


def dump_all(documents: Iterable[object]) -> str:
    """Return documents as YAML, with `---` between them."""
    import yaml

    text: str = yaml.dump_all(
        documents,
        Dumper=_dumper(),
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
    )
    return text


@cache
def _dumper() -> Any:
    """Return the dumper; made late, since importing yaml costs more than most commands."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

        def write_double_quoted(self, text: str, split: bool = True) -> None:
            # The emitter escapes all that is not ASCII, or none of it.
            self.allow_unicode = not _DIRECTED.search(text)
            super().write_double_quoted(text, split)
            self.allow_unicode = True

    def text(dumper: Any, value: str) -> Any:
        style = '"' if _UNUSUAL.search(value) else "|" if "\n" in value else None
        return dumper.represent_scalar(_TAG + "str", value, style=style)

    for tag, (pattern, first) in PLAIN_SCALARS.items():
        Dumper.add_implicit_resolver(_TAG + tag, re.compile(pattern), first)
    Dumper.add_representer(str, text)
    return Dumper
