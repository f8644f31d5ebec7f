"""Where things live in the store.

    /e/<domain>/<kind>/<project>/<name>                      the entity
    /x/<domain>/<kind>/<project>/<name>                      its managers and derived keys
    /i/<domain>/<kind>/<attribute>/<value>/<project>/<name>  index
    /u/<domain>/<kind>/<attribute>/<project>/<value>         unique value, holds the owner's uid

Segments are escaped, never replaced, so no two names share a key; long values are hashed.
Cluster scope writes `_`, which no project can be called.
"""

from __future__ import annotations

import hashlib

from miren.entities.kinds import Kind
from miren.entities.store.api import KeyRange

__all__ = [
    "entity_key",
    "entity_range",
    "index_key",
    "index_range",
    "name_in",
    "sidecar_key",
    "unique_key",
]

_LONGEST_VALUE = 128


def entity_key(kind: Kind, project: str, name: str) -> str:
    """Return the key of one entity."""
    return _join("e", kind.domain, kind.name, project, name)


def sidecar_key(kind: Kind, project: str, name: str) -> str:
    """Return the key of what is kept about an entity beside it."""
    return _join("x", kind.domain, kind.name, project, name)


def entity_range(kind: Kind, project: str | None) -> KeyRange:
    """Return the range of a kind's entities, of one project or (None) of all."""
    parts = ("e", kind.domain, kind.name) + (() if project is None else (project,))
    return KeyRange.prefix(_join(*parts) + "/")


def index_key(kind: Kind, attribute: str, value: str, project: str, name: str) -> str:
    """Return the key that says: this entity has this value."""
    return _join("i", kind.domain, kind.name, attribute, _value(value), project, name)


def index_range(kind: Kind, attribute: str, value: str, project: str | None) -> KeyRange:
    """Return the range of the index entries with one value."""
    parts = ("i", kind.domain, kind.name, attribute, _value(value))
    return KeyRange.prefix(_join(*parts, *(() if project is None else (project,))) + "/")


def unique_key(kind: Kind, attribute: str, project: str, value: str) -> str:
    """Return the key that only one entity of the project (empty: of the cluster) can hold."""
    return _join("u", kind.domain, kind.name, attribute, project, _value(value))


def name_in(key: str) -> tuple[str, str]:
    """Return (project, name), the last two segments of an entity or index key."""
    project, name = key.split("/")[-2:]
    return "" if project == "_" else _unescape(project), _unescape(name)


def _join(*segments: str) -> str:
    return "/" + "/".join(_escape(segment) for segment in segments)


def _escape(segment: str) -> str:
    if not segment:
        return "_"
    escaped = segment.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    return "%5F" if escaped == "_" else escaped


def _unescape(segment: str) -> str:
    plain = segment.replace("%5F", "_").replace("%00", "\0").replace("%2F", "/")
    return plain.replace("%25", "%")


def _value(value: str) -> str:
    if len(value) <= _LONGEST_VALUE:
        return value
    return "#" + hashlib.sha256(value.encode()).hexdigest()
