"""Which keys of the language go together: every key has its effect, or is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from miren.schemagen.model import Attribute

__all__ = ["NUMBERS", "misplaced"]

NUMBERS = frozenset({"int", "float", "quantity", "duration"})
_TEXTS = frozenset({"string", "keyword", "label", "ref", "bytes"})
_UNINDEXED = frozenset({"component", "map", "json", "float", "bytes"})


def misplaced(
    attribute: Attribute, written: Mapping[str, object], *, is_kind: bool
) -> Iterator[tuple[str, str]]:
    """Yield each key of an attribute that has no meaning there, and why.

    `is_kind` says that it is an attribute of a kind, not of a component.
    """
    for key, holds, message in _rules(attribute, written, is_kind):
        value = written.get(key)
        is_given = value is not None and (value is not False or key == "default")
        if is_given and not holds:
            yield key, message


def _rules(
    attribute: Attribute, written: Mapping[str, object], is_kind: bool
) -> tuple[tuple[str, bool, str], ...]:
    type_ = attribute.type
    listed = attribute.many or type_ == "map"
    on_kind = "stands on attributes of a kind only"
    return (
        ("choices", type_ == "enum", f"choices are for enums, this is of type {type_}"),
        ("attrs", written["type"] == "component", "attrs are for type component"),
        ("shorthand", written["type"] == "component", "shorthand is for type component"),
        ("of", type_ == "map", f"of is for maps, this is of type {type_}"),
        ("many", type_ not in ("map", "json"), f"a {type_} is never many"),
        ("to", type_ == "ref", f"to is for refs, this is of type {type_}"),
        ("owner", type_ == "ref" and not attribute.many, "an owner is a single ref"),
        ("owner", is_kind and not attribute.status, f"owner {on_kind}, not of its status"),
        (
            "merge_key",
            type_ == "component" and attribute.many,
            "merge_key is for many components",
        ),
        ("min", type_ in NUMBERS, f"min is for numbers, this is of type {type_}"),
        ("max", type_ in NUMBERS, f"max is for numbers, this is of type {type_}"),
        ("pattern", type_ in ("string", "keyword", "label"), "pattern is for texts"),
        ("min_length", listed or type_ in _TEXTS, "min_length is for texts, lists and maps"),
        ("max_length", listed or type_ in _TEXTS, "max_length is for texts, lists and maps"),
        ("indexed", type_ not in _UNINDEXED, f"a {type_} cannot be indexed"),
        ("unique", type_ not in _UNINDEXED and not listed, f"this {type_} cannot be unique"),
        ("unique", is_kind and not attribute.status, f"unique {on_kind}, not of its status"),
        ("immutable", not attribute.status, "a status is the controllers' to change"),
        ("status", is_kind, f"status {on_kind}"),
        ("required", not attribute.status, "nothing in a status is required"),
        ("default", not attribute.required, "what is required needs no default"),
    )
