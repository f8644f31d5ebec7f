"""How deep data may be nested: what reads, merges and writes it recurses, a level a call."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["MAX_DEPTH", "is_deeper"]

#: Levels in one document. Entities are far below it, and Python's own limit is far above.
MAX_DEPTH = 64


def is_deeper(value: object, most: int) -> bool:
    """Return whether mappings and lists are nested more than `most` levels deep in `value`."""
    level = [value]
    for _ in range(most):
        inside: list[object] = []
        for each in level:
            if isinstance(each, Mapping):
                inside += each.values()
            elif isinstance(each, list | tuple):
                inside += each
        if not inside:
            return False
        level = inside
    return any(isinstance(each, Mapping | list | tuple) for each in level)
