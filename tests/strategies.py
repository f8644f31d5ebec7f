"""What hypothesis makes documents of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

#: Few names, so that documents meet; two need escaping in a JSON pointer.
NAMES = st.sampled_from(["a", "b", "c/d", "~e"])

SCALARS = st.one_of(st.integers(0, 2), st.sampled_from(["", "x"]), st.booleans())
LISTS = st.lists(st.integers(0, 2), max_size=2)


def json_documents() -> st.SearchStrategy[Any]:
    """Return JSON values, nulls included."""
    return st.recursive(
        st.one_of(st.none(), SCALARS, LISTS),
        lambda inner: st.dictionaries(NAMES, inner, max_size=3),
        max_leaves=8,
    )


def _shaped(depth: int) -> st.SearchStrategy[Mapping[str, Any]]:
    """Return documents of one schema: what is a map in one is a map in all."""
    scalars = {name: st.one_of(SCALARS, LISTS) for name in ("x", "y/z")}
    if depth == 0:
        return st.fixed_dictionaries({}, optional=scalars)
    inner = _shaped(depth - 1)
    maps = dict.fromkeys(("m", "n~"), inner)
    return st.fixed_dictionaries({}, optional={**scalars, **maps})


def applied_documents() -> st.SearchStrategy[dict[str, Any]]:
    """Return what managers apply: parts of one schema, three maps deep, or nothing at all."""
    return _shaped(2).map(lambda spec: {"spec": dict(spec)} if spec else {})
