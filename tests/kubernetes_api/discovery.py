"""What the API says of itself: what clients and operators ask before anything else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.kubernetes_api.resources import VERBS, Resource

VERSION = {
    "major": "1",
    "minor": "35",
    "gitVersion": "v1.35.0",
    "gitCommit": "0" * 40,
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "go1.25",
    "compiler": "gc",
    "platform": "linux/amd64",
}


def discovered(path: str, resources: Iterable[Resource]) -> dict[str, Any] | None:
    """Return the answer at a path, None where there is none."""
    known = list(resources)
    match path.strip("/").split("/"):
        case ["version"]:
            return dict(VERSION)
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            groups = {each.group: each for each in known if each.group}
            found = [_group(group, known) for group in groups]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}
        case ["apis", group] if any(each.group == group for each in known):
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, known)}
        case ["api", version]:
            return _resources(version, known)
        case ["apis", group, version]:
            return _resources(f"{group}/{version}", known)
    return None


def _group(group: str, known: Iterable[Resource]) -> dict[str, Any]:
    versions = {each.version: each.api_version for each in known if each.group == group}
    found = [
        {"groupVersion": api_version, "version": version}
        for version, api_version in versions.items()
    ]
    return {"name": group, "versions": found, "preferredVersion": found[-1]}


def _resources(api_version: str, known: Iterable[Resource]) -> dict[str, Any] | None:
    found: list[dict[str, Any]] = []
    for each in known:
        if each.api_version != api_version:
            continue
        told = {"kind": each.kind, "namespaced": each.namespaced}
        found.append(
            {
                **told,
                "name": each.plural,
                "singularName": each.kind.lower(),
                "shortNames": [],
                "categories": [],
                "verbs": list(VERBS),
            }
        )
        if each.has_status:
            verbs = ["get", "patch", "update"]
            found.append(
                {**told, "name": f"{each.plural}/status", "singularName": "", "verbs": verbs}
            )
    if not found:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version,
        "resources": found,
    }
