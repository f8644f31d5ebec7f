"""Show all that is known of an entity, for people.

miren describe sandbox hello
"""

from __future__ import annotations

import argparse
from typing import Any

from miren.cli.connection import ENTITIES, add_names, add_options, calls_to, names_of
from miren.cli.failures import Failures
from miren.cli.output import table_lines
from miren.cli.printable import printable
from miren.rpc.calls import Calls

__all__ = ["configure", "run"]

_SHOWN = 10  # referrers, and events
_NEWEST = {"current": True, "table": True, "wide": True}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_names(parser)
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Describe each of the entities."""
    calls, failures, shown = calls_to(options), Failures(), 0
    for kind, name in names_of(options.what):
        with failures.noted():
            request = {"kind": kind, "name": name, "project": options.project}
            document = calls.call(f"{ENTITIES}/Get", request)["entity"]
            referrers = calls.call(f"{ENTITIES}/Referrers", request)["referrers"]
            lines = [
                *_described(document, _controllers(calls, document)),
                *_referred(referrers, document),
                *_events(calls.call(f"{ENTITIES}/Events", {**request, **_NEWEST})),
            ]
            print("\n" * (shown > 0) + "\n".join(printable(line, keep="\n") for line in lines))
            shown += 1
    return failures.code


def _controllers(calls: Calls, document: dict[str, Any]) -> dict[str, str]:
    """Return who works on what holds an entity back that is being deleted, by finalizer."""
    if "deletionTimestamp" not in document["metadata"]:
        return {}
    kind = f"{document['kind'].lower()}.{document['apiVersion'].partition('/')[0]}"
    answer = calls.call(f"{ENTITIES}/Finalizers", {"kind": kind})
    controllers: dict[str, str] = answer["controllers"]
    return controllers


def _described(document: dict[str, Any], controllers: dict[str, str]) -> list[str]:
    metadata = document["metadata"]
    status = dict(document.get("status", {}))
    conditions = status.pop("conditions", [])
    lines = [
        f"{'Name:':14}{metadata['name']}",
        f"{'Kind:':14}{document['kind']} ({document['apiVersion']})",
        f"{'Project:':14}{metadata.get('project') or '-'}",
        f"{'Labels:':14}{_pairs(metadata.get('labels', {}))}",
        *_annotations(metadata.get("annotations", {})),
        f"{'Created:':14}{metadata['creationTimestamp']}",
        f"{'Revision:':14}{metadata['resourceVersion']}, generation {metadata['generation']}",
        f"{'Uid:':14}{metadata['uid']}",
    ]
    if "finalizers" in metadata and "deletionTimestamp" not in metadata:
        lines.append(f"{'Finalizers:':14}{', '.join(metadata['finalizers'])}")
    if "deletionTimestamp" in metadata:
        lines.append(f"{'Deleting:':14}since {metadata['deletionTimestamp']}")
        lines += [
            f"{'':14}blocked by finalizer {finalizer} ({_who(controllers.get(finalizer))})"
            for finalizer in metadata.get("finalizers", [])
        ]
    lines += [
        f"{'Owned by:':14}{owner['kind'].lower()}/{owner['name']}"
        for owner in metadata.get("ownerReferences", [])
    ]
    lines += ["Spec:", *_tree(document.get("spec", {}), 1)]
    lines += ["Status:", *_tree(status, 1)] if status else []
    return lines + _conditions(conditions)


def _referred(referrers: list[dict[str, str]], document: dict[str, Any]) -> list[str]:
    """Return who refers to it and by what; of a crowd, some."""
    if not referrers:
        return []
    here = document["metadata"].get("project", "")
    lines = []
    for each in referrers[:_SHOWN]:
        where = f"{each['project']}/" if each["project"] not in ("", here) else ""
        lines.append(f"  {each['kind']}/{where}{each['name']} ({each['attribute']})")
    more = len(referrers) - _SHOWN
    return ["Referred by:", *lines, *([f"  and {more} more"] if more > 0 else [])]


def _who(controller: str | None) -> str:
    return "its controller is not running" if controller is None else f"controller {controller}"


def _events(table: dict[str, Any]) -> list[str]:
    """Return the newest events, the latest last."""
    columns: list[str] = table["columns"]
    if not table["rows"]:
        return []
    whose = columns.index("OBJECT")
    cells = [row[:whose] + row[whose + 1 :] for row in [columns, *table["rows"][-_SHOWN:]]]
    return ["Events:", *(f"  {line}" for line in table_lines(cells[0], cells[1:]))]


def _conditions(conditions: list[dict[str, Any]]) -> list[str]:
    if not conditions:
        return []
    columns = ("TYPE", "STATUS", "REASON", "SINCE", "MESSAGE")
    rows = [
        [
            str(one.get(key, ""))
            for key in ("type", "status", "reason", "lastTransitionTime", "message")
        ]
        for one in conditions
    ]
    return ["Conditions:", *(f"  {line}" for line in table_lines(columns, rows))]


def _annotations(annotations: dict[str, str]) -> list[str]:
    """Return a line an annotation: they may be long."""
    pairs = [f"{key}={value}" for key, value in annotations.items()]
    titles = ["Annotations:", *[""] * len(pairs)]
    return [
        f"{title:14}{printable(pair)}" for title, pair in zip(titles, pairs or ["-"], strict=False)
    ]


def _pairs(labels: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels.items()) or "-"


def _tree(value: Any, depth: int) -> list[str]:
    """Return nested data as indented lines; scalars that belong together stay on one."""
    pad = "  " * depth
    lines = []
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines += [f"{pad}{key}:", *_tree(item, depth + 1)]
        elif isinstance(item, list) and any(isinstance(one, dict) for one in item):
            lines.append(f"{pad}{key}:")
            for one in item:
                first, *rest = _tree(one, depth + 2)
                lines += [f"{pad}  - {first.strip()}", *rest]
        elif isinstance(item, list):
            lines.append(f"{pad}{key}: {' '.join(map(str, item)) or '-'}")
        else:
            lines.append(f"{pad}{key}: {'-' if item in ({}, None) else item}")
    return lines
