"""Kubernetes CRDs to schema files: one file a domain and version.

What comes out says exactly what came in, or nothing comes out: everything that the language
cannot express is refused at once, with its place. To be sure, the result is compiled, exported
again and compared with what was read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from miren.base.errors import InvalidInput, Problem
from miren.base.yaml import Located, in_reading_order, parse
from miren.schemagen.crd import CONDITION, RESERVED_STATUS, normalised
from miren.schemagen.crd_export import export_crds
from miren.schemagen.crd_nodes import NodeReader, Path, key_of
from miren.schemagen.crd_shape import misshapen
from miren.schemagen.loader import load
from miren.schemagen.names import version_order

__all__ = ["Imported", "import_crds"]

_JSON_PATH = re.compile(r"(\.[A-Za-z][A-Za-z0-9_-]*)+")
_AGE = ".metadata.creationTimestamp"
_VERSION = re.compile(r"v[0-9]+([a-z]+[0-9]*)?")


@dataclass(slots=True)
class Imported:
    """A schema file to be: `data` is its content."""

    domain: str
    version: str
    kinds: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """A name that tells it from the other files of the same run."""
        return f"{self.domain.replace('.', '_').replace('-', '_')}_{self.version}.yml"

    @property
    def text(self) -> str:
        """The text of the file."""
        import yaml

        data = {"domain": self.domain, "version": self.version, "kinds": self.kinds}
        # Attributes without others inside come in one line each, as people write them.
        text: str = yaml.safe_dump(
            data, sort_keys=False, allow_unicode=True, width=98, default_flow_style=None
        )
        return text


def import_crds(texts: Iterable[tuple[str, str]]) -> tuple[Imported, ...]:
    """Return the schema files that say what the CRDs in these (file name, text) pairs say.

    Raises InvalidInput with everything that cannot be expressed, each with its path and place.
    """
    problems: list[Problem] = []
    found: dict[tuple[str, str], Imported] = {}
    given = list(texts)
    crds: list[Located] = []
    for name, text in given:
        parsed = parse(text, name)
        problems.extend(parsed.problems)
        if not parsed.documents and not parsed.problems:
            problems.append(Problem(f"{name} holds no CRD"))
        crds += parsed.documents
    for document in crds:
        _read(document, found, problems)
    if not problems:
        problems += _unfaithful(crds, found.values())
    if problems:
        raise InvalidInput(in_reading_order(problems, [name for name, _ in given]))
    return tuple(found.values())


def _read(
    document: Located, found: dict[tuple[str, str], Imported], problems: list[Problem]
) -> None:
    if found_wrong := list(misshapen(document)):
        problems += found_wrong
        return
    reader = _CrdReader(document, problems)
    for version, written in reader.versions():
        schema = found.setdefault((reader.group, version), Imported(reader.group, version))
        if reader.kind in schema.kinds:
            reader.refuse(("spec", "names", "kind"), f"kind {reader.kind} is given twice")
        schema.kinds[reader.kind] = written


class _CrdReader(NodeReader):
    """Reads one CRD."""

    def __init__(self, document: Located, problems: list[Problem]) -> None:
        super().__init__(document, problems)
        value: Any = document.value
        self._spec: dict[str, Any] = value["spec"]
        self._names: dict[str, Any] = self._spec["names"]
        self.group: str = self._spec["group"]
        self.kind: str = self._names["kind"]

    def versions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each version's name and the kind as a schema file has it."""
        options = self._options()
        versions = self._spec["versions"]
        newest = max((version["name"] for version in versions), key=version_order)
        for number, version in enumerate(versions):
            path, name = ("spec", "versions", number), version["name"]
            if not _VERSION.fullmatch(name):
                self.refuse((*path, "name"), f"{name!r} is no version like v1 or v1beta2")
            if version["storage"] != (name == newest):
                self.refuse((*path, "storage"), f"the newest version, {newest}, is the stored one")
            yield name, self._version(version, path, dict(options))

    def _options(self) -> dict[str, Any]:
        names, path = self._names, ("spec", "names")
        derived = {"singular": self.kind.lower(), "listKind": f"{self.kind}List"}
        for key, value in names.items():
            if key in derived and value != derived[key]:
                self.refuse((*path, key), f"{key} {value!r} cannot be expressed: it is derived")
            elif key not in (*derived, "kind", "plural", "shortNames"):
                self.refuse((*path, key), f"{key} cannot be expressed")
        for key in self._spec:
            if key not in ("group", "names", "scope", "versions") and not self._is_idle(key):
                self.refuse(("spec", key), f"{key} cannot be expressed")
        options: dict[str, Any] = {"plural": names.get("plural")}
        if names.get("shortNames"):
            options["short"] = list(names["shortNames"])
        if self._spec["scope"] == "Cluster":
            options["scope"] = "cluster"
        return options

    def _is_idle(self, key: str) -> bool:
        value = self._spec[key]
        return (key, value) in (
            ("preserveUnknownFields", False),
            ("conversion", {"strategy": "None"}),
        )

    def _version(
        self, version: Mapping[str, Any], path: Path, options: dict[str, Any]
    ) -> dict[str, Any]:
        known = ("name", "served", "storage", "schema", "subresources", _COLUMNS)
        for key in version:
            if key not in known and version[key] is not False:
                self.refuse((*path, key), f"{key} cannot be expressed")
        if not version["served"]:
            self.refuse((*path, "served"), "a version that is not served cannot be expressed")
        for key in version.get("subresources") or {}:
            if key != "status":
                self.refuse((*path, "subresources", key), f"{key} cannot be expressed")
        here = (*path, "schema", "openAPIV3Schema")
        root = version["schema"]["openAPIV3Schema"]
        if root.get("description"):
            options = {"doc": root["description"], **options}
        columns = self._columns(version.get(_COLUMNS) or (), (*path, _COLUMNS))
        if columns:
            options["printcolumns"] = columns
        parts = self._parts(root, here)
        has_status = "status" in (version.get("subresources") or {})
        return {"$options": options, **self._attributes(parts, here, has_status=has_status)}

    def _columns(self, columns: Iterable[Mapping[str, Any]], path: Path) -> dict[str, str]:
        found: dict[str, str] = {}
        for number, column in enumerate(columns):
            here = (*path, number)
            name, steps = column["name"], column["jsonPath"]
            if steps == _AGE:
                continue
            if column.get("priority"):
                self.refuse((*here, "priority"), "priority of a column cannot be expressed")
            if not _JSON_PATH.fullmatch(steps):
                self.refuse((*here, "jsonPath"), f"{steps!r} is no plain path to an attribute")
            elif name in found:
                self.refuse((*here, "name"), f"two columns are called {name!r}")
            else:
                found[name] = steps.removeprefix(".")
        return found

    # -- the root --------------------------------------------------------------------------

    def _parts(self, root: Mapping[str, Any], path: Path) -> dict[str, dict[str, Any]]:
        """Return the nodes of spec and status; refuse what else the root has."""
        for key, value in root.items():
            is_known = key in ("type", "description", "properties", "required")
            if not is_known and value is not False:
                self.refuse((*path, key), f"{key} cannot be expressed")
        parts: dict[str, dict[str, Any]] = {}
        for name, node in (root.get("properties") or {}).items():
            here = (*path, "properties", name)
            if name in ("spec", "status"):
                parts[name] = self._part(name, node, here)
            elif name in ("apiVersion", "kind", "metadata"):
                for key in sorted(set(node) - {"type", "description"}):
                    self.refuse((*here, key), f"{key} of {name} cannot be expressed")
            else:
                self.refuse(here, f"{name!r} beside spec and status cannot be expressed")
        return parts

    def _part(self, name: str, node: Mapping[str, Any], path: Path) -> dict[str, Any]:
        for key, value in node.items():
            is_known = key in ("type", "description", "properties", "required", "nullable")
            if not is_known and value is not False:
                self.refuse((*path, key), f"{key} of {name} cannot be expressed")
        if name == "status" and node.get("required"):
            self.refuse((*path, "required"), "nothing in a status is required")
        return dict(node)

    def _attributes(
        self, parts: Mapping[str, dict[str, Any]], path: Path, *, has_status: bool
    ) -> dict[str, Any]:
        here = (*path, "properties")
        spec = self.attributes(parts.get("spec", {}), (*here, "spec"))
        node = self._without_reserved(parts.get("status", {}), (*here, "status"))
        status = self.attributes(node, (*here, "status"))
        if status and not has_status:
            self.refuse((*here, "status"), "a status without subresources.status is the user's")
        names = {key_of(name): name for name in node["properties"]}
        for key, written in status.items():
            if key in spec:
                name = names[key]
                where = (*here, "status", "properties", name)
                self.refuse(where, f"{name!r} is in spec and in status, which is one namespace")
            written["status"] = True
        return {**spec, **status}

    def _without_reserved(self, node: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """Leave out what every status has, provided that it is what every status has."""
        properties = dict(node.get("properties") or {})
        for name in RESERVED_STATUS:
            known = properties.pop(name, None)
            if known is not None and not _is_standard(name, known):
                message = f"{name!r} is reserved in every status, in another form than this"
                self.refuse((*path, "properties", name), message)
        return {**node, "properties": properties}


_COLUMNS = "additionalPrinterColumns"


def _is_standard(name: str, node: Mapping[str, Any]) -> bool:
    """Return whether a reserved attribute is what we mean by it, if told in other detail."""
    if name == "conditions":
        inside = ((node.get("items") or {}).get("properties") or {}).keys()
        return node.get("type") == "array" and {"type", "status"} <= inside <= set(CONDITION)
    return bool(node.get("type") == RESERVED_STATUS[name]["type"])


def _unfaithful(crds: Iterable[Located], files: Iterable[Imported]) -> Iterator[Problem]:
    """Yield what the result would say otherwise than the CRDs do."""
    try:
        schemas = load((each.file, each.text) for each in files)
        exported = {_identity(crd): normalised(crd) for crd in export_crds(schemas)}
    except InvalidInput as error:
        yield from (
            Problem(f"the language cannot express it: {each.message}", each.path, hint=each.hint)
            for each in error.problems
        )
        return
    for document in crds:
        value: Any = document.value
        wanted, written = normalised(value), exported[_identity(value)]
        for path, one, other in _differences(wanted, written, ()):
            message = f"{one!r} would become {other!r}"
            yield Problem(message, path, document.position(("spec", *path)))


def _identity(crd: Mapping[str, Any]) -> tuple[str, str]:
    return crd["spec"]["group"], crd["spec"]["names"]["kind"]


def _differences(one: Any, other: Any, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in (*one, *(key for key in other if key not in one)):
            yield from _differences(one.get(key), other.get(key), (*path, key))
    elif one != other:
        yield path, one, other
