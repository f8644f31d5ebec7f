"""One request each: what the client's verbs send, and what they make of the answer.

Updates are merge patches of what differs, guarded by the resource version: as safe as replacing
the whole object, smaller, and they leave alone what this program's version of a kind cannot see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import orjson

from miren.base.errors import Conflict, Fenced, InvalidInput, Problem
from miren.clients.kubernetes.addresses import collection, discovery, item
from miren.clients.kubernetes.addresses import query as address
from miren.clients.kubernetes.answers import Answer, error_of, is_of_object
from miren.clients.kubernetes.objects import (
    Document,
    difference,
    document_of,
    entity_of,
    joined_owners,
    partial_of,
    status_of,
    wishes_of,
)
from miren.clients.kubernetes.seen import Seen
from miren.clients.kubernetes.transport import APPLY, JSON, JSON_PATCH, MERGE_PATCH, Transport
from miren.entities.client import Patch
from miren.entities.entity import Entity, Partial
from miren.entities.kind import Kind
from miren.entities.model import FrozenDict
from miren.entities.reading import expand

__all__ = ["Document", "Writer"]

E = TypeVar("E", bound=Entity[Any, Any])

_PATCHABLE = frozenset({"labels", "annotations", "finalizers", "ownerReferences"})
_HINT = "spec, labels, annotations, finalizers and owners can"


class Writer:
    """Reads and writes single objects. Projects are given here, empty for cluster-scoped."""

    def __init__(self, transport: Transport, seen: Seen) -> None:
        self._transport = transport
        self._seen = seen
        self._has_status: dict[Kind, bool] = {}  # whether status is a subresource, once known
        self._fences: tuple[asyncio.Event, ...] = ()

    def fenced(self, lost: asyncio.Event) -> Writer:
        """Return one that shares everything, and writes nothing once `lost` is set."""
        writer = Writer(self._transport, self._seen)
        writer._has_status, writer._fences = self._has_status, (*self._fences, lost)
        return writer

    async def send(self, method: str, target: str, document: Document, *, about: str) -> Document:
        """Send a document and return the answer's; raise what the refusal means."""
        answer = await self._write(method, target, orjson.dumps(document))
        if not answer.is_ok:
            raise error_of(answer, about=about, writes=True)
        return answer.document()

    async def merge(self, target: str, patch: Document, *, about: str) -> Document:
        """Change what is at a path by a merge patch and return it; raise what a refusal means."""
        answer = await self._write("PATCH", target, orjson.dumps(patch), MERGE_PATCH)
        if not answer.is_ok:
            raise error_of(answer, about=about, writes=True)
        return answer.document()

    async def _write(
        self, method: str, target: str, body: bytes, content_type: str = JSON
    ) -> Answer:
        for lost in self._fences:
            if lost.is_set():
                raise Fenced("another leader may be at work", hint="stop, and stand again")
        return await self._transport.request(method, target, body, content_type=content_type)

    async def fetch(self, target: str, *, about: str) -> Document:
        """Return what is at a path; raise what the refusal means."""
        answer = await self._transport.request("GET", target)
        if not answer.is_ok:
            raise error_of(answer, about=about)
        return answer.document(writes=False)

    async def read(self, kind: type[E], project: str, name: str) -> Document:
        """Return an object as the API has it."""
        about = f"{kind.kind.singular}/{name}"
        return await self.fetch(item(kind.kind, project, name), about=about)

    async def create(self, entity: E, project: str, *, dry_run: bool) -> E:
        """Store a new object."""
        target = address(collection(entity.kind, project), dryRun="All" if dry_run else None)
        body = orjson.dumps(document_of(entity))
        answer = await self._write("POST", target, body)
        return self._made(type(entity), answer, str(entity), is_dry=dry_run)

    async def update(self, old: E, entity: E, *, manager: str, dry_run: bool) -> E:
        """Write what differs, guarded by the version of `old`; return `old` if nothing does."""
        patch = difference(wishes_of(old), wishes_of(entity))
        if not patch:
            return old
        kind, where = type(entity), (old.project, old.name)
        metadata = patch.setdefault("metadata", {})
        if metadata.get("ownerReferences"):
            stored = (await self.read(kind, *where))["metadata"].get("ownerReferences", ())
            metadata["ownerReferences"] = joined_owners(stored, metadata["ownerReferences"])
        metadata["resourceVersion"] = old.metadata.resource_version
        target = address(
            item(entity.kind, *where), fieldManager=manager, dryRun="All" if dry_run else None
        )
        answer = await self._write("PATCH", target, orjson.dumps(patch), MERGE_PATCH)
        return self._made(kind, answer, str(entity), over=old, is_dry=dry_run)

    async def update_status(self, old: E, entity: E) -> E:
        """Write what differs in the status, guarded by the version of `old`."""
        patch = difference(status_of(old), status_of(entity))
        if not patch:
            return old
        guard = {"resourceVersion": old.metadata.resource_version}
        body = orjson.dumps({"metadata": guard, "status": patch})
        answer = await self._write_status(old, body)
        if answer.is_ok:
            document = answer.document()
            echo = self._seen.get(type(entity), old.project, old.name)
            version = document["metadata"]["resourceVersion"]
            if echo is not None and echo.metadata.resource_version == version:
                return echo  # a watch was faster
            if _is_just(document, old, patch):
                return self._seen.wrote(_of_status(old, entity, document), over=old)
        return self._made(type(entity), answer, str(entity), over=old)

    async def _write_status(self, entity: E, body: bytes) -> Answer:
        kind, target = entity.kind, item(entity.kind, entity.project, entity.name)
        if self._has_status.get(kind, True):
            answer = await self._write("PATCH", target + "/status", body, MERGE_PATCH)
            if answer.code not in (404, 405) or await self._finds_status(kind):
                return answer
        return await self._write("PATCH", target, body, MERGE_PATCH)

    async def _finds_status(self, kind: Kind) -> bool:
        """Return whether the API says that the kind has a status subresource. Asked once."""
        if kind not in self._has_status:
            found = await self.fetch(discovery(kind), about=str(kind))
            names = {resource["name"] for resource in found.get("resources", ())}
            self._has_status[kind] = f"{kind.plural}/status" in names
        return self._has_status[kind]

    async def apply(
        self, partial: Partial[E], project: str, *, manager: str, force: bool, dry_run: bool
    ) -> E:
        """Make the manager's fields exactly these."""
        kind = partial.type.kind
        target = address(
            item(kind, project, partial.name),
            fieldManager=manager,
            force="true" if force else "false",
            dryRun="All" if dry_run else None,
        )
        body = orjson.dumps(partial_of(partial, project=project))
        answer = await self._write("PATCH", target, body, APPLY)
        about = f"{kind.singular}/{partial.name}"
        return self._made(partial.type, answer, about, is_dry=dry_run)

    async def patch(
        self,
        kind: type[E],
        where: tuple[str, str],
        patch: Patch,
        manager: str,
        *,
        dry_run: bool,
    ) -> E:
        """Change an object by a patch of what a patch may change."""
        target = address(
            item(kind.kind, *where), fieldManager=manager, dryRun="All" if dry_run else None
        )
        about = f"{kind.kind.singular}/{where[1]}"
        if isinstance(patch, Mapping):
            _check_names(patch, about)
            sent, content_type = orjson.dumps(_expanded(kind, patch)), MERGE_PATCH
        else:
            _check_paths(patch, about)
            sent, content_type = orjson.dumps(list(patch)), JSON_PATCH
        answer = await self._write("PATCH", target, sent, content_type)
        if content_type is JSON_PATCH and _failed_test(answer, patch):
            raise Conflict(f"{about}: {answer.status().get('message')}", entity=about)
        return self._made(kind, answer, about, is_dry=dry_run)

    async def delete(self, last: E, options: Document, *, dry_run: bool) -> E:
        """Begin deletion. Returns the object's new state, `last` where the API shows none."""
        if dry_run:
            options = {**options, "dryRun": ["All"]}
        answer = await self._write(
            "DELETE", item(last.kind, last.project, last.name), orjson.dumps(options)
        )
        if not answer.is_ok:
            raise error_of(answer, about=str(last), writes=True)
        document = answer.document()
        return last if document.get("kind") == "Status" else entity_of(type(last), document)

    def _made(
        self,
        kind: type[E],
        answer: Answer,
        about: str,
        *,
        over: E | None = None,
        is_dry: bool = False,
    ) -> E:
        """Return the entity in an answer; raise what a refusal means."""
        if not answer.is_ok:
            raise error_of(answer, about=about, writes=not is_dry)
        entity = entity_of(kind, answer.document())
        if is_dry or (over is not None and over.revision == entity.revision):
            return entity
        before = over or self._seen.get(kind, entity.project, entity.name)
        return self._seen.wrote(entity, over=before)


def _is_just(document: Mapping[str, Any], old: Entity[Any, Any], patch: Document) -> bool:
    """Return whether the API did what was asked, and nothing else: then it need not be read."""
    metadata = document["metadata"]
    return (
        metadata.get("generation", 0) == old.metadata.generation
        and ("deletionTimestamp" in metadata) is old.is_deleting
        and _holds(document.get("status") or {}, patch)
    )


def _holds(document: Mapping[str, Any], patch: Mapping[str, Any]) -> bool:
    for name, value in patch.items():
        found = document.get(name)
        if isinstance(value, Mapping) and isinstance(found, Mapping):
            if not _holds(found, value):
                return False
        elif found != value:
            return False
    return True


def _of_status(old: E, entity: E, document: Mapping[str, Any]) -> E:
    version = document["metadata"]["resourceVersion"]
    return replace(
        old,
        metadata=old.metadata.model_copy(update={"resource_version": version}),
        status=entity.status,
        conditions=entity.conditions,
        observed_generation=entity.observed_generation,
        handled=FrozenDict(entity.handled),
    )


def _expanded(kind: type[Entity[Any, Any]], patch: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(patch.get("spec"), Mapping):
        return patch
    return {**patch, "spec": expand(kind.kind.spec, patch["spec"])}


def _check_names(patch: Mapping[str, Any], about: str) -> None:
    metadata = patch.get("metadata")
    wrong = [(name,) for name in patch if name not in ("spec", "metadata")]
    if isinstance(metadata, Mapping):
        wrong += [("metadata", name) for name in metadata if name not in _PATCHABLE]  # type: ignore[misc]  # tuples of either length
    _refuse(wrong, about)


def _check_paths(patch: Any, about: str) -> None:
    wrong = []
    for operation in patch:
        part, _, rest = str(operation.get("path", ""))[1:].partition("/")
        writable = part == "spec" or (part == "metadata" and rest.split("/")[0] in _PATCHABLE)
        if operation.get("op") != "test" and not writable:
            wrong.append((part, *rest.split("/")))
    _refuse(wrong, about)


def _refuse(paths: list[Any], about: str) -> None:
    problems = [Problem("cannot be patched", path, hint=_HINT) for path in paths]
    if problems:
        raise InvalidInput(problems, entity=about)


def _failed_test(answer: Answer, patch: Any) -> bool:
    """Return whether a JSON Patch was refused as such, and not the object it makes."""
    tests = any(operation.get("op") == "test" for operation in patch)
    return answer.code == 422 and tests and not is_of_object(answer.status())
