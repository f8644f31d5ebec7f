"""Which keys of the language go together: every key has its effect, or is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from miren.schemagen.model import Attribute

__all__ = ["NUMBERS", "PATTERNS", "TEXTS", "Place", "misplaced", "pattern_of"]

NUMBERS = frozenset({"int", "float", "quantity", "duration"})
_PATTERNED = frozenset({"string", "keyword", "label", "secret"})
TEXTS = _PATTERNED | {"ref", "bytes"}
_UNINDEXED = frozenset({"json", "float", "secret"})
_NEVER_UNIQUE = _UNINDEXED | {"component", "bytes"}

#: What a text of these types looks like; `pattern` in the schema takes its place.
PATTERNS = {"keyword": r"\S+", "label": r"[^=\s]+=.*"}

#: Keys that say something of a whole attribute, and nothing of what a map holds.
_WHOLE = (
    "attr",
    "required",
    "status",
    "session",
    "bind_to",
    "default",
    "owner",
    "immutable",
    "unique",
    "merge_key",
)


class Place:
    """Where an attribute stands: in a kind, in a component, or as what a map holds."""

    KIND = "kind"
    COMPONENT = "component"
    MAP = "map"


def pattern_of(attribute: Attribute) -> str | None:
    """Return the expression that a single value must match, if any."""
    return attribute.pattern or PATTERNS.get(attribute.type)


def misplaced(
    attribute: Attribute, written: Mapping[str, object], place: str
) -> Iterator[tuple[str, str]]:
    """Yield each key of an attribute that has no meaning there, and why."""
    seen: set[str] = set()
    for key, holds, message in (
        *_of_types(attribute, written),
        *_of_places(attribute, place),
        *_of_status(attribute),
    ):
        value = written.get(key)
        is_given = value is not None and (value is not False or key == "default")
        if is_given and not holds and key not in seen:
            seen.add(key)
            yield key, message


def _of_types(
    attribute: Attribute, written: Mapping[str, object]
) -> tuple[tuple[str, bool, str], ...]:
    type_, leaf = attribute.type, attribute.leaf.type
    listed = attribute.many or type_ == "map"
    return (
        ("choices", type_ == "enum", f"choices are for enums, this is of type {type_}"),
        ("attrs", written["type"] == "component", "attrs are for type component"),
        ("shorthand", written["type"] == "component", "shorthand is for type component"),
        ("of", type_ == "map", f"of is for maps, this is of type {type_}"),
        ("many", type_ != "map", "a map is never many: use a map of lists, or of maps"),
        ("to", type_ == "ref", f"to is for refs, this is of type {type_}"),
        ("tags", type_ == "ref", f"tags are for refs, this is of type {type_}"),
        ("on_delete", type_ == "ref", f"on_delete is for refs, this is of type {type_}"),
        (
            "on_delete",
            not (attribute.required and attribute.on_delete == "unset"),
            "what is required cannot be unset",
        ),
        ("owner", type_ == "ref" and not attribute.many, "an owner is a single ref"),
        (
            "merge_key",
            type_ == "component" and attribute.many,
            "merge_key is for many components",
        ),
        ("min", type_ in NUMBERS, f"min is for numbers, this is of type {type_}"),
        ("max", type_ in NUMBERS, f"max is for numbers, this is of type {type_}"),
        (
            "pattern",
            type_ in _PATTERNED and not attribute.is_labels,
            "pattern is for texts",
        ),
        ("min_length", listed or type_ in TEXTS, "min_length is for texts, lists and maps"),
        ("max_length", listed or type_ in TEXTS, "max_length is for texts, lists and maps"),
        ("indexed", leaf not in _UNINDEXED, f"a {leaf} cannot be indexed"),
        (
            "unique",
            type_ not in _NEVER_UNIQUE and not listed,
            f"this {type_} cannot be unique",
        ),
        ("session", leaf != "secret", "a secret cannot be leased"),
        ("bind_to", leaf != "secret", "a secret is no view of another value"),
        ("example", leaf != "secret", "a secret stands in no schema"),
    )


def _of_places(attribute: Attribute, place: str) -> Iterator[tuple[str, bool, str]]:
    is_kind = place == Place.KIND
    on_kind = "stands on attributes of a kind only"
    yield "owner", is_kind and not attribute.status, f"owner {on_kind}, not of its status"
    yield "unique", is_kind and not attribute.status, f"unique {on_kind}, not of its status"
    for key in ("status", "session", "bind_to"):
        yield key, is_kind, f"{key} {on_kind}"
    for key in _WHOLE if place == Place.MAP else ():
        yield key, False, f"{key} stands on the map, not on what it holds"


def _of_status(attribute: Attribute) -> tuple[tuple[str, bool, str], ...]:
    is_view = attribute.bind_to is not None
    return (
        ("immutable", not attribute.status, "a status is the controllers' to change"),
        ("required", not attribute.status, "nothing in a status is required"),
        ("default", not is_view, "a view of another value has no default"),
        ("session", not is_view, "a view of another value is not stored"),
        ("indexed", not is_view, "a view of another value is not stored: index that"),
        ("on_delete", not is_view, "a view of another value is not stored"),
    )
