"""A kind of a schema file as a subject for `explain`, without generating or importing code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from miren.base.errors import NotFound
from miren.base.suggestions import closest
from miren.base.words import plural
from miren.entities.explaining import Subject
from miren.entities.topics import Topic, envelope
from miren.schemagen.describing import Components, components_of, facts_of, type_of
from miren.schemagen.model import Attribute, Kind, Schema
from miren.schemagen.names import version_order

__all__ = ["subject_named", "subjects_of"]


def subjects_of(schemas: Sequence[Schema]) -> tuple[Subject, ...]:
    """Return every kind of the schemas, as `explain` would show it once it is installed."""
    components = components_of(schemas)
    return tuple(_subject(schema, kind, components) for schema in schemas for kind in schema.kinds)


def _subject(schema: Schema, kind: Kind, components: Components) -> Subject:
    name = kind.name.lower()
    return Subject(
        kind=kind.name,
        api_version=f"{schema.domain}/{schema.version}",
        doc=kind.doc or f"The kind {kind.name}.",
        words=(name, kind.plural or plural(name), *kind.short),
        scope=kind.scope,
        topics=envelope(
            lambda: _topics(kind.spec, components), lambda: _topics(kind.status, components)
        ),
    )


def _topics(attributes: Iterable[Attribute], components: Components) -> tuple[Topic, ...]:
    return tuple(_topic(attribute, components) for attribute in attributes)


def _topic(attribute: Attribute, components: Components) -> Topic:
    known = attribute.leaf.component
    component = components.get(known) if known else None
    inside = component.attributes if component else ()
    return Topic(
        name=attribute.wire,
        type=type_of(attribute),
        doc=" ".join(attribute.doc.split()),
        required=attribute.required,
        facts=facts_of(attribute, components),
        component=component.name if component else "",
        open=lambda: _topics(inside, components),
    )


def subject_named(name: str, subjects: Sequence[Subject]) -> Subject:
    """Return the kind a person means, in the newest of the versions that are given."""
    folded = name.lower().replace("-", "").replace("_", "")
    found = [subject for subject in subjects if folded in subject.words]
    if not found:
        hint = closest(name, [word for subject in subjects for word in subject.words])
        raise NotFound(f"no kind {name!r} in these files", hint=hint)
    return max(found, key=lambda subject: version_order(subject.api_version.partition("/")[2]))
