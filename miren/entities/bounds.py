"""How large an entity's parts may be, and what its names may be made of. Pure.

The limits are Kubernetes' where it has one, so that what is moved between the two fits: see its
"Labels and Selectors" and "Annotations". What somebody does not change is not judged again: an
entity from before a limit can still be written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from miren.base.errors import Problem
from miren.base.nesting import MAX_DEPTH, is_deeper
from miren.entities.entity import NAME, Entity, Metadata

__all__ = ["has_short_texts", "is_key", "out_of_bounds"]

_MOST_LABELS = 64
_MOST_ANNOTATION_BYTES = 256 * 1024
_MOST_ITEMS = 10_000  # of one list or map
_LONGEST_KEY = 253

_WORD = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(
    r"(?=.{1,253}/)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*/"
)
_NAME = re.compile(NAME)

#: Controls, formats (such as marks of direction), halves of characters, and line separators.
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")

#: In JSON: an escape (of a control character, say), the one control JSON lets pass, an empty key.
_ESCAPE, _DELETE, _NO_KEY = b"\\", b"\x7f", b'"":'

Path = tuple[str | int, ...]


def out_of_bounds(
    new: Entity[Any, Any], old: Entity[Any, Any] | None, news: bytes
) -> Iterator[Problem]:
    """Yield a problem for each part of `new` that is out of bounds and that `old` had not so.

    `news` is the stored form of what of `new` differs from `old`.
    """
    if old is None or new.metadata is not old.metadata:
        yield from _of_metadata(new.metadata, old.metadata if old is not None else None)
    for part in () if _is_harmless(news) else ("spec", "status"):
        model = getattr(new, part)
        if old is None or model != getattr(old, part):
            dumped = model.model_dump(mode="json", exclude_none=True)
            if is_deeper(dumped, MAX_DEPTH):
                yield Problem(f"nested more than {MAX_DEPTH} levels deep", (part,))
            else:
                yield from _contents(dumped, (part,))


def _of_metadata(metadata: Metadata, before: Metadata | None) -> Iterator[Problem]:
    if before is None or metadata.project != before.project:
        yield from _project(metadata.project)
    if before is None or metadata.labels != before.labels:
        yield from _labels(metadata.labels)
    if before is None or metadata.annotations != before.annotations:
        yield from _annotations(metadata.annotations)


def _is_harmless(value: bytes) -> bool:
    """Return whether a look at the bytes shows that nothing inside can be out of bounds.

    Most entities are short, plain ASCII without escapes: then a list or map has few elements, no
    character is hidden, and a level of nesting costs a bracket.
    """
    return (
        len(value) < 2 * _MOST_ITEMS
        and value.isascii()
        and not (_ESCAPE in value or _DELETE in value or _NO_KEY in value)
        and value.count(b"{") + value.count(b"[") <= MAX_DEPTH
        and has_short_texts(value)
    )


def has_short_texts(value: bytes) -> bool:
    """Return whether no more than the length of a key is between any two quotes."""
    at = 0
    while len(value) - at > _LONGEST_KEY:
        at = value.rfind(b'"', at, at + _LONGEST_KEY + 1) + 1
        if not at:
            return False
    return True


def is_key(text: str) -> bool:
    """Return whether a text can be the key of a label or an annotation: `[domain/]name`."""
    prefix = _PREFIX.match(text)
    return _WORD.fullmatch(text[prefix.end() :] if prefix else text) is not None


def _project(project: str) -> Iterator[Problem]:
    if project and not _NAME.fullmatch(project):
        yield Problem(
            f"{project!r} is no project's name: it must match {NAME}", ("metadata", "project")
        )


def _labels(labels: Mapping[str, str]) -> Iterator[Problem]:
    at = ("metadata", "labels")
    if len(labels) > _MOST_LABELS:
        yield Problem(f"{len(labels)} labels; at most {_MOST_LABELS} are allowed", at)
    for key, value in labels.items():
        yield from _key(key, at)
        if value and not _WORD.fullmatch(value):
            yield Problem(
                f"{_shown(value)} is no label's value",
                (*at, key),
                hint="at most 63 letters, digits, '-', '_' or '.'; the ends are letters or digits",
            )


def _annotations(annotations: Mapping[str, str]) -> Iterator[Problem]:
    at = ("metadata", "annotations")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > _MOST_ANNOTATION_BYTES:
        yield Problem(
            f"{size} bytes of annotations; at most {_MOST_ANNOTATION_BYTES} can be stored", at
        )
    for key in annotations:
        yield from _key(key, at)


def _key(key: str, at: Path) -> Iterator[Problem]:
    if not is_key(key):
        yield Problem(
            f"{_shown(key)} is no key",
            at,
            hint="[domain/]name: at most 253 and 63 characters; a name is letters, digits, "
            "'-', '_' or '.', its ends are letters or digits",
        )


def _contents(value: object, path: Path) -> Iterator[Problem]:
    if isinstance(value, Mapping):
        if len(value) > _MOST_ITEMS:
            yield Problem(f"{len(value)} entries; at most {_MOST_ITEMS} are allowed", path)
            return
        for key, item in value.items():
            if not 0 < len(key) <= _LONGEST_KEY or any(map(_is_hidden, key)):
                told = f"{_shown(key)} is no key: it is up to {_LONGEST_KEY} visible characters"
                yield Problem(told, path)
            else:
                yield from _contents(item, (*path, key))
    elif isinstance(value, list | tuple):
        if len(value) > _MOST_ITEMS:
            yield Problem(f"{len(value)} elements; at most {_MOST_ITEMS} are allowed", path)
            return
        for place, item in enumerate(value):
            if isinstance(item, Mapping | list | tuple):
                yield from _contents(item, (*path, place))


def _is_hidden(character: str) -> bool:
    return not character.isprintable() and unicodedata.category(character) in _HIDDEN


def _shown(text: str) -> str:
    """Return a text as a message quotes it: in escapes, and not the whole of a long one."""
    return (
        repr(text) if len(text) <= _LONGEST_KEY else f"{text[:40]!r}... ({len(text)} characters)"
    )
