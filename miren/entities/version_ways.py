"""From a version of a kind to the stored one and back: entities, parts, selections, problems."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from miren.base.errors import InvalidInput, Problem, Refused
from miren.base.pointers import pointer_of, steps_of
from miren.entities.client import Selection, Target
from miren.entities.conversions import Converter
from miren.entities.entity import Entity, Metadata, Partial
from miren.entities.kinds import Kind, Kinds
from miren.entities.merging import Managers
from miren.entities.reading import expand
from miren.entities.versioned_store import converted_managers

__all__ = ["Way", "way_of"]

AnyEntity = Entity[Any, Any]


@dataclass(frozen=True, slots=True)
class Way:
    """How callers that speak `asked` meet entities that are `stored`."""

    asked: Kind
    stored: Kind
    up: Converter
    down: Converter

    def inwards(self, entity: AnyEntity) -> AnyEntity:
        """Return an entity as the stored version says it.

        Raises InvalidInput, with the caller's paths, where that version does not allow it.
        """
        document = self.up.convert(entity.to_document(reveal=True))
        with self.problems():
            return self.stored.entity.from_document(document)

    def outwards(self, entity: AnyEntity, *, reveal: bool = False) -> Any:
        """Return a stored entity as the caller's version says it; raise Refused if it cannot."""
        document = self.down.convert(entity.to_document(reveal=reveal))
        try:
            found = self.asked.entity.from_stored(document, revision=entity.revision)
        except ValidationError as error:
            raise Refused(
                f"{entity} cannot be shown in {self.asked.api_version}: {error}",
                hint=f"ask for it in {self.stored.api_version}",
                entity=str(entity),
            ) from error
        return found.with_metadata(resource_version=entity.metadata.resource_version)

    def part(self, partial: Partial[Any]) -> Partial[Any]:
        """Return what a manager wants, as the stored version says it.

        Raises Refused where only whole entities can be converted.
        """
        if self.up.is_opaque:
            raise Refused(
                f"{self.asked.api_version} is older than {self.stored.api_version} and cannot be "
                "applied: it is converted only as a whole",
                hint=f"apply {self.stored.api_version}, or use update",
                entity=f"{self.asked.singular}/{partial.name}",
            )
        given = partial.document
        document = {**given, "metadata": expand(Metadata, given["metadata"])}
        if "spec" in given:
            document["spec"] = expand(self.asked.spec, given["spec"] or {})
        converted = self.up.convert(document)
        if "status" not in given:
            converted.pop("status", None)  # what was kept of one, in a document that was read
        return Partial(self.stored.entity, {**converted, "apiVersion": self.stored.api_version})

    def selection(self, selection: Selection, kinds: Kinds) -> Selection:
        """Return the selection of the same entities in the stored version.

        Raises InvalidInput for a field that cannot be selected on there.
        """
        fields = dict(self._field(path, text) for path, text in selection.fields.items())
        return replace(_of_stored(selection, kinds), fields=fields)

    def _field(self, path: str, text: str) -> tuple[str, str]:
        found = self.up.convert_field(path, text)
        if found is None:
            raise InvalidInput(
                f"{self.asked.name} cannot be selected on {path!r} in {self.asked.api_version}",
                hint=f"select in {self.stored.api_version}",
            )
        return found

    def managers(self, managers: Managers) -> Managers:
        """Return who manages which fields, by the caller's names for them."""
        return converted_managers(self.down, managers)

    @contextmanager
    def problems(self) -> Iterator[None]:
        """Tell of problems inside at the caller's paths."""
        try:
            yield
        except InvalidInput as error:
            found = [replace(each, path=self._path(each)) for each in error.problems]
            raise InvalidInput(found, hint=error.hint, entity=error.entity) from error

    def _path(self, problem: Problem) -> tuple[str | int, ...]:
        pointer = self.down.convert_pointer(pointer_of(map(str, problem.path)))
        if pointer is None:
            return problem.path
        numbers = {str(step): step for step in problem.path if isinstance(step, int)}
        return tuple(numbers.get(step, step) for step in steps_of(pointer))


def way_of(kind: type[AnyEntity], kinds: Kinds) -> Way | None:
    """Return the way to the stored version, None when it is this one."""
    asked = kind.kind
    stored = kinds.stored(asked)
    if stored is asked:
        return None
    return Way(asked, stored, kinds.conversion(asked, stored), kinds.conversion(stored, asked))


def _of_stored(selection: Selection, kinds: Kinds) -> Selection:
    """Return the selection with the stored version of what it refers to."""
    target = selection.refers_to
    if target is None:
        return selection
    stored: Target = replace(target, kind=kinds.stored(target.kind.kind).entity)
    return replace(selection, refers_to=stored)
