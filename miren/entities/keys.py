"""Where things live in the store.

    /e/<domain>/<kind>/<project>/<name>                      the entity
    /x/<domain>/<kind>/<project>/<name>                      its managers and derived keys
    /i/<domain>/<kind>/<attribute>/<value>/<project>/<name>  index
    /u/<domain>/<kind>/<attribute>/<project>/<value>         unique value
    /r/<domain>/<kind>/<project>/<name>/<rule>/<domain>/<kind>/<attribute>/<project>/<name>
                                                             a reference, below its target
    /o/<uid>/<domain>/<kind>/<project>/<name>                a dependent, below its owner
    /p/<project>                                             a project that takes new entities
    /s/<domain>/<kind>/<project>/<name>/<attribute>          a session attribute, leased
    /l/<election>/<candidate>                                who stands in an election, leased
    /v/<project>/<domain>/<kind>/<name>                      what happened to it lately, leased
    /m/indexes/<domain>/<kind>                               for which schema a kind's derived keys
                                                             are complete

Those from `/i` to `/p` are derived from the entity and hold its uid. `rule` is what deleting the
target means: `restrict`, `unset` or `none`.

Segments are escaped, never replaced, so no two names share a key. Long values are
hashed, and so are those that begin with `#`, as the hashes do.
Cluster scope writes `_`, which no project can be called.
"""

from __future__ import annotations

import hashlib
from functools import cache

from miren.entities.kinds import Kind
from miren.entities.store.api import KeyRange

__all__ = [
    "DERIVED",
    "candidate_key",
    "candidates_range",
    "dependent_key",
    "dependents_range",
    "entity_key",
    "entity_range",
    "events_key",
    "events_range",
    "events_subject_in",
    "index_key",
    "index_range",
    "indexes_key",
    "is_entity_key",
    "kind_in",
    "name_in",
    "project_key",
    "reference_key",
    "references_range",
    "referrer_in",
    "session_attribute_in",
    "session_key",
    "session_owner_in",
    "session_range",
    "sidecar_key",
    "unique_key",
]

#: Everything that is derived from entities lies below these.
DERIVED = ("/i/", "/u/", "/r/", "/o/", "/p/")

_LONGEST_VALUE = 128


def entity_key(kind: Kind, project: str, name: str) -> str:
    """Return the key of one entity."""
    return _above("e", kind) + _join(project, name)


def sidecar_key(kind: Kind, project: str, name: str) -> str:
    """Return the key of what is kept about an entity beside it."""
    return _above("x", kind) + _join(project, name)


def entity_range(kind: Kind, project: str | None) -> KeyRange:
    """Return the range of a kind's entities, of one project or (None) of all."""
    parts = ("e", kind.domain, kind.name) + (() if project is None else (project,))
    return KeyRange.prefix(_join(*parts) + "/")


def index_key(kind: Kind, attribute: str, value: str, project: str, name: str) -> str:
    """Return the key that says: this entity has this value."""
    return _above("i", kind, attribute) + _join(_value(value), project, name)


def index_range(kind: Kind, attribute: str, value: str, project: str | None) -> KeyRange:
    """Return the range of the index entries with one value."""
    parts = ("i", kind.domain, kind.name, attribute, _value(value))
    return KeyRange.prefix(_join(*parts, *(() if project is None else (project,))) + "/")


def unique_key(kind: Kind, attribute: str, project: str, value: str) -> str:
    """Return the key that only one entity of the project (empty: of the cluster) can hold."""
    return _above("u", kind, attribute) + _join(project, _value(value))


def reference_key(
    target: Kind,
    where: tuple[str, str],
    *,
    rule: str,
    referrer: Kind,
    attribute: str,
    by: tuple[str, str],
) -> str:
    """Return the key that says: the entity `by` refers to the one at `where`, (project, name)."""
    above = ("r", target.domain, target.name, *where, rule)
    return _join(*above, referrer.domain, referrer.name, attribute, *by)


def references_range(target: Kind, project: str, name: str, rule: str | None = None) -> KeyRange:
    """Return the range of the references to an entity: of one rule, or all."""
    parts = ("r", target.domain, target.name, project, name)
    return KeyRange.prefix(_join(*parts, *(() if rule is None else (rule,))) + "/")


def referrer_in(key: str) -> tuple[str, str, str, str, str]:
    """Return (domain, kind, attribute, project, name) of who refers, from a reference's key."""
    domain, kind, attribute, project, name = map(_plain, key.split("/")[-5:])
    return domain, kind, attribute, project, name


def dependent_key(owner_uid: str, kind: Kind, project: str, name: str) -> str:
    """Return the key that says: this entity goes when that owner goes."""
    return _join("o", owner_uid, kind.domain, kind.name, project, name)


def dependents_range(owner_uid: str) -> KeyRange:
    """Return the range of an owner's dependents."""
    return KeyRange.prefix(_join("o", owner_uid) + "/")


def session_key(kind: Kind, project: str, name: str, attribute: str) -> str:
    """Return the key of one session attribute of an entity."""
    return _join("s", kind.domain, kind.name, project, name, attribute)


def session_range(kind: Kind, project: str | None, name: str | None = None) -> KeyRange:
    """Return the range of the session attributes of one entity, of a project's, or of all."""
    given = tuple(part for part in (project, name) if part is not None)
    return KeyRange.prefix(_join("s", kind.domain, kind.name, *given) + "/")


def session_owner_in(key: str) -> tuple[str, str]:
    """Return (project, name) of the entity that a session attribute's key is of."""
    return name_in(key.rpartition("/")[0])


def session_attribute_in(key: str) -> str:
    """Return the attribute from a session attribute's key."""
    return _plain(key.rpartition("/")[2])


def project_key(project: str) -> str:
    """Return the key that is there while a project takes new entities."""
    return _join("p", project)


def candidate_key(election: str, candidate: str) -> str:
    """Return the key of one candidate of an election."""
    return _join("l", election, candidate)


def candidates_range(election: str) -> KeyRange:
    """Return the range of all candidates of an election."""
    return KeyRange.prefix(_join("l", election) + "/")


def events_key(kind: Kind, project: str, name: str) -> str:
    """Return the key of what happened to an entity lately; by project, so that one can be read."""
    return _join("v", project, kind.domain, kind.name, name)


def events_range(project: str | None) -> KeyRange:
    """Return the range of what happened in a project (empty: in none), or (None) anywhere."""
    return KeyRange.prefix(_join("v", *(() if project is None else (project,))) + "/")


def events_subject_in(key: str) -> tuple[str, str, str, str]:
    """Return (domain, kind, project, name) from the key of an entity's events."""
    project, domain, kind, name = key.split("/")[-4:]
    return _plain(domain), _plain(kind), _plain(project), _plain(name)


def name_in(key: str) -> tuple[str, str]:
    """Return (project, name), the last two segments of an entity or index key."""
    project, name = key.split("/")[-2:]
    return _plain(project), _plain(name)


def is_entity_key(key: str) -> bool:
    """Return whether this is the key of an entity itself."""
    return key.startswith("/e/")


def indexes_key(kind: Kind) -> str:
    """Return the key that says for which schema the derived keys of a kind are complete."""
    return _join("m", "indexes", kind.domain, kind.name)


def kind_in(key: str) -> tuple[str, str]:
    """Return (domain, kind) from an entity's or a dependent's key."""
    domain, kind = key.split("/")[-4:-2]
    return _plain(domain), _plain(kind)


def _plain(segment: str) -> str:
    return "" if segment == "_" else _unescape(segment)


@cache
def _above(letter: str, kind: Kind, *more: str) -> str:
    """Return what all keys of a kind, or of one attribute of it, begin with."""
    return _join(letter, kind.domain, kind.name, *more)


def _join(*segments: str) -> str:
    return "/" + "/".join([_escape(segment) for segment in segments])


def _escape(segment: str) -> str:
    if not segment:
        return "_"
    if "%" in segment or "/" in segment or "\0" in segment:
        return segment.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    return "%5F" if segment == "_" else segment


def _unescape(segment: str) -> str:
    plain = segment.replace("%5F", "_").replace("%00", "\0").replace("%2F", "/")
    return plain.replace("%25", "%")


def _value(value: str) -> str:
    if len(value) <= _LONGEST_VALUE and not value.startswith("#"):  # as hashes do
        return value
    return "#" + hashlib.sha256(value.encode()).hexdigest()
