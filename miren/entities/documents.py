"""Files of entities to checked documents: what `apply -f` reads.

Everything wrong in any of the files is found in one go and shown where it stands. The result
is what the user wrote, in one spelling (camelCase, shorthands written out) and without
defaults, because apply must know what was said and what was not.

Two envelopes are read: this project's, which looks like Kubernetes', and an older one, which
writes `kind: <domain>/<kind>` with `version` beside it and may name the entity in `id`.

A status is an error, because controllers write it; only what an export marked, by the annotation
`EXPORTED`, may bring one. The mark itself is not stored.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from miren.base.errors import InvalidInput, NotFound, Position, Problem
from miren.base.suggestions import closest
from miren.base.yaml import Located, in_reading_order, parse
from miren.entities.entity import RESERVED, Metadata
from miren.entities.kinds import Kind, Kinds, Scope
from miren.entities.model import Model, labels_of
from miren.entities.reading import expand, read

__all__ = ["EXPORTED", "Document", "files_of", "read_documents"]

#: The annotation with which an export marks a document whose status may be written.
EXPORTED = "miren.dev/exported"

_ENDINGS = (".yaml", ".yml", ".json")
_ENVELOPE = ("apiVersion", "kind", "metadata", "spec", "status", "version", "id")


@dataclass(frozen=True, slots=True)
class Document:
    """One entity as a user wrote it: plain data in camelCase, without defaults.

    `status` is what an export wrote down beside it, to be written apart from it.
    """

    kind: Kind
    document: dict[str, Any]
    source: Located = field(repr=False)
    status: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The entity's name."""
        return str(self.document["metadata"]["name"])

    @property
    def project(self) -> str:
        """The entity's project, empty where the document leaves it to the client."""
        return str(self.document["metadata"].get("project", ""))

    @property
    def position(self) -> Position:
        """Where the document begins in its file."""
        return self.source.position()

    def locate(self, error: InvalidInput) -> InvalidInput:
        """Return `error`, found later by its paths, with places in this document's file."""
        return InvalidInput(
            [
                Problem(
                    each.message,
                    each.path,
                    each.position or self.source.position(each.path),
                    each.hint,
                )
                for each in error.problems
            ],
            hint=error.hint,
            entity=error.entity,
        )


def files_of(paths: Iterable[str | Path]) -> Iterator[tuple[str, str]]:
    """Yield the name and text of each file: of a file, of a folder's own files, or of `-`.

    A folder gives its *.yaml, *.yml and *.json files in the order of their names, and not
    those of folders inside it; `-` is the standard input. Raises NotFound for a path that
    does not exist or a folder without such files, InvalidInput for what is not UTF-8.
    """
    for path in paths:
        if str(path) == "-":
            yield "<stdin>", _standard_input()
            continue
        for file in _files(Path(path)):
            try:
                yield str(file), file.read_text(encoding="utf-8-sig")
            except UnicodeDecodeError as error:
                raise InvalidInput(f"{file} is not UTF-8: {error.reason}") from error


def read_documents(texts: Iterable[tuple[str, str]], kinds: Kinds) -> list[Document]:
    """Return the entities in these (file name, text) pairs, in order.

    Raises one InvalidInput with every problem of every text, each with its place.
    """
    problems: list[Problem] = []
    documents: list[Document] = []
    files: list[str] = []
    for file, text in texts:
        files.append(file)
        parsed = parse(text, file)
        problems.extend(parsed.problems)
        for source in parsed.documents:
            reader = _Reader(source, kinds)
            document = reader.read()
            problems.extend(reader.problems)
            if document is not None:
                documents.append(document)
    problems.extend(_repeated(documents))
    if problems:
        raise InvalidInput(in_reading_order(problems, files))
    return documents


def _standard_input() -> str:
    try:
        return sys.stdin.read().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"<stdin> is not UTF-8: {error.reason}") from error


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise NotFound(f"no file or folder {path}")
    if not path.is_dir():
        return [path]  # a pipe is as good as a file: `-f <(generate)`
    found = sorted(each for each in path.iterdir() if each.suffix in _ENDINGS and each.is_file())
    if not found:
        raise NotFound(f"no {', '.join('*' + ending for ending in _ENDINGS)} in {path}")
    return found


def _repeated(documents: Iterable[Document]) -> Iterator[Problem]:
    first: dict[tuple[Kind, str, str], Document] = {}
    for document in documents:
        known = first.setdefault((document.kind, document.project, document.name), document)
        if known is not document:
            path = ("metadata", "name")
            at = known.position
            yield Problem(
                f"{document.kind.singular}/{document.name} is given twice",
                path,
                document.source.position(path),
                f"the first one is at {at.file}:{at.line}",
            )


class _Reader:
    """Reads one document; `problems` holds what is wrong with it."""

    def __init__(self, source: Located, kinds: Kinds) -> None:
        self.problems: list[Problem] = []
        self._source = source
        self._kinds = kinds

    def read(self) -> Document | None:
        """Return the document, or None when its kind or name cannot be made out."""
        if not isinstance(self._source.value, Mapping):
            self._problem((), "an entity is a mapping with kind, metadata and spec")
            return None
        if self._source.value.get("kind") == "List" and "items" in self._source.value:
            hint = "give its items as documents; `miren export` writes them so"
            self._problem(("kind",), "a List is no entity", hint=hint)
            return None
        parts = self._parts(self._source.value)
        kind = self._kind(parts)
        metadata = self._metadata(parts, kind)
        is_exported = self._take_mark(metadata)
        if parts.get("status") and not is_exported:
            hint = "remove it: controllers write it, and `miren export` leaves it out"
            self._problem(("status",), "a status cannot be applied", hint=hint, key=True)
        if kind is None:
            return None
        spec = self._checked(kind.spec, self._mapping(parts, "spec"), "spec")
        if not isinstance(metadata.get("name"), str):
            return None
        document = {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "metadata": metadata,
            "spec": spec,
        }
        return Document(kind, document, self._source, self._status(parts, kind))

    def _parts(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parts of the envelope by their camelCase names."""
        known = {_fold(name): name for name in _ENVELOPE}
        parts: dict[str, Any] = {}
        for key, part in value.items():
            name = known.get(_fold(key))
            if name is None:
                hint = closest(key, _ENVELOPE[:4])
                self._problem((key,), f"unknown attribute {key!r}", hint=hint, key=True)
            else:
                parts[name] = part
        return parts

    def _kind(self, parts: Mapping[str, Any]) -> Kind | None:
        word, api = parts.get("kind"), parts.get("apiVersion")
        if not isinstance(word, str):
            self._problem(("kind",), "kind is missing" if word is None else "kind must be a text")
            return None
        if api is not None and not isinstance(api, str):
            self._problem(("apiVersion",), "apiVersion must be a text")
            return None
        domain, slash, name = word.rpartition("/")
        if slash:
            api = f"{domain}/{parts['version']}" if "version" in parts else domain
        try:
            return self._kinds.of_document(api, name)
        except InvalidInput as error:
            is_known = any(_fold(kind.name) == _fold(name) for kind in self._kinds)
            place = "apiVersion" if is_known and api is not None and not slash else "kind"
            self._problem((place,), error.message, hint=error.hint)
            return None

    def _metadata(self, parts: Mapping[str, Any], kind: Kind | None) -> dict[str, Any]:
        metadata = dict(self._mapping(parts, "metadata"))
        if "labels" in metadata:
            metadata["labels"] = labels_of(metadata["labels"])
        name = parts.get("id")
        if isinstance(name, str):
            metadata.setdefault("name", name.rpartition("/")[2])
        result = self._checked(Metadata, metadata, "metadata")
        if kind is not None and kind.scope is Scope.CLUSTER and result.get("project"):
            message = f"a {kind.name} belongs to no project"
            self._problem(("metadata", "project"), message, hint="remove it", key=True)
        return result

    def _take_mark(self, metadata: dict[str, Any]) -> bool:
        """Take the mark of an export off, and return whether there was one."""
        annotations = metadata.get("annotations")
        if not isinstance(annotations, dict) or EXPORTED not in annotations:
            return False
        metadata["annotations"] = {
            name: value for name, value in annotations.items() if name != EXPORTED
        }
        if not metadata["annotations"]:
            del metadata["annotations"]
        return True

    def _status(self, parts: Mapping[str, Any], kind: Kind) -> dict[str, Any] | None:
        given = self._mapping(parts, "status")
        if not given:
            return None
        # What is the same for all kinds is checked where it is written.
        common = {name: given[name] for name in RESERVED if name in given}
        own = {name: value for name, value in given.items() if name not in RESERVED}
        return {**self._checked(kind.status, own, "status"), **common}

    def _mapping(self, parts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        value = parts.get(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self._problem((name,), f"{name} must be a mapping")
            return {}
        return value

    def _checked(self, model: type[Model], value: Mapping[str, Any], part: str) -> dict[str, Any]:
        """Return `value` in one spelling, after recording what a `model` finds wrong in it."""
        try:
            read(model, value, path=(part,), locate=self._locate)
        except InvalidInput as error:
            self.problems.extend(error.problems)
        expanded = expand(model, value)
        return expanded if isinstance(expanded, dict) else {}

    def _locate(self, path: tuple[str | int, ...], key: bool) -> Position:
        return self._source.position(path, key=key)

    def _problem(
        self,
        path: tuple[str | int, ...],
        message: str,
        *,
        hint: str | None = None,
        key: bool = False,
    ) -> None:
        self.problems.append(Problem(message, path, self._locate(path, key), hint))


def _fold(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
