"""Which kinds of objects there are, and what a path is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from miren.entities.entity import Entity
from miren.entities.kind import Scope

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Resource:
    """A kind of objects as the API serves it. `selectable` are paths for field selectors."""

    group: str  # "" is the core
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    has_status: bool = True
    selectable: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @classmethod
    def of(cls, entity: type[Entity[Any, Any]], **options: Any) -> Resource:
        kind = entity.kind
        namespaced = kind.scope is not Scope.CLUSTER
        return cls(
            kind.domain, kind.version, kind.plural, kind.name, namespaced=namespaced, **options
        )

    def details(self, name: str = "") -> dict[str, Any]:
        """What a Status says it is about."""
        told = {"name": name, "group": self.group, "kind": self.plural}
        return {key: value for key, value in told.items() if value}

    def definition(self) -> dict[str, Any]:
        """The CustomResourceDefinition that makes this known."""
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        return {
            "apiVersion": CRDS.api_version,
            "kind": CRDS.kind,
            "metadata": {"name": f"{self.plural}.{self.group}"},
            "spec": {
                "group": self.group,
                "scope": "Namespaced" if self.namespaced else "Cluster",
                "names": {
                    "plural": self.plural,
                    "singular": self.kind.lower(),
                    "kind": self.kind,
                    "listKind": f"{self.kind}List",
                },
                "versions": [
                    {
                        "name": self.version,
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": schema},
                        "subresources": {"status": {}} if self.has_status else {},
                        "selectableFields": [{"jsonPath": f".{path}"} for path in self.selectable],
                    }
                ],
            },
        }


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
_INVOLVED = tuple(f"involvedObject.{part}" for part in ("kind", "name", "uid"))
EVENTS = Resource("", "v1", "events", "Event", has_status=False, selectable=_INVOLVED)
NEW_EVENTS = Resource("events.k8s.io", "v1", "events", "Event", has_status=False)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", has_status=False)
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", has_status=False)
CRDS = Resource(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
)
BUILT_IN = (NAMESPACES, EVENTS, NEW_EVENTS, LEASES, CONFIG_MAPS, CRDS)


def defined_by(definition: Mapping[str, Any]) -> Iterator[Resource]:
    """Yield what a CustomResourceDefinition makes known, a resource for each version."""
    spec = definition["spec"]
    for version in spec["versions"]:
        if version.get("served", True):
            yield Resource(
                spec["group"],
                version["name"],
                spec["names"]["plural"],
                spec["names"]["kind"],
                namespaced=spec.get("scope") != "Cluster",
                has_status="status" in (version.get("subresources") or {}),
                selectable=tuple(
                    field["jsonPath"].lstrip(".") for field in version.get("selectableFields", ())
                ),
            )


@dataclass(frozen=True)
class Place:
    """What a path is about. `name` None is the collection."""

    api_version: str
    plural: str
    namespace: str | None = None
    name: str | None = None
    subresource: str = ""


def place_of(path: str) -> Place | None:
    """Return what a path is about, None where it is no path of objects."""
    match [unquote(part) for part in path.strip("/").split("/")]:
        case ["api", version, *rest]:
            api_version = version
        case ["apis", group, version, *rest]:
            api_version = f"{group}/{version}"
        case _:
            return None
    namespace: str | None = None
    match rest:
        case ["namespaces", name, "status" | "finalize"]:
            return Place(api_version, "namespaces", None, name, rest[2])
        case ["namespaces", namespace, plural, *more]:
            pass
        case [plural, *more]:
            pass
        case _:
            return None
    match more:
        case []:
            return Place(api_version, plural, namespace)
        case [name]:
            return Place(api_version, plural, namespace, name)
        case [name, subresource]:
            return Place(api_version, plural, namespace, name, subresource)
    return None
