"""Write entities as YAML from which `miren apply -f -` makes them again, here or elsewhere.

miren export                      everything in the project, and the project itself
miren export -A                   everything there is
miren export apps routes -l app=web
miren export app/web              one entity
miren export -A | miren apply -f - --server unix:///other.sock

Left out is what only a server writes (uid, resourceVersion, timestamps), what is being deleted,
finalizers, which controllers put on again, and what is owned by others, because controllers make
it again (--owned brings it). Owners follow from references; one that does not is named in a
comment, since its uid means nothing elsewhere. With --status the status comes too, marked so
that `apply` writes it. Secrets are masked: a mask keeps what is stored, and creates nothing.

Each kind is as it was at one moment, and kinds are read one after the other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from miren.base.errors import InvalidInput, NotFound
from miren.base.suggestions import closest
from miren.base.words import folded
from miren.base.yaml_text import dump
from miren.cli.connection import ENTITIES, add_options, calls_to, names_of
from miren.cli.listing import add_selection, list_all, selection_of
from miren.cli.output import name_of, writable
from miren.entities.documents import EXPORTED
from miren.entities.entity import RESERVED
from miren.entities.secrets import MASK
from miren.rpc.calls import Calls

__all__ = ["configure", "run"]

Document = Mapping[str, Any]
Kind = Mapping[str, Any]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = f"{parser.prog} [KIND... | KIND/NAME...] [options]"
    parser.add_argument(
        "kinds",
        nargs="*",
        metavar="KIND",
        help="only these kinds, or only entities named KIND/NAME (default: all)",
    )
    add_selection(parser)
    parser.add_argument(
        "--owned", action="store_true", help="also what is owned by others, as controllers make it"
    )
    parser.add_argument("--status", action="store_true", help="also the status")
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Write every entity that was asked for, those referred to before those that refer."""
    calls = calls_to(options)
    masked = count = 0
    for kind, entity in _asked_for(calls, options):
        document = exported(entity, with_status=options.status)
        masked += _is_masked(document["spec"])
        if count:
            print("---")
        count += 1
        for owner in _lost_owners(entity, kind):
            print(f"# its owner {owner} is not exported")
        print(dump(document), end="")
    if masked:
        plural = "s have" if masked != 1 else " has"
        print(
            f"{masked} document{plural} secrets, masked as {MASK}: write them in before you "
            "create these elsewhere",
            file=sys.stderr,
        )
    if not count:
        print("nothing to export", file=sys.stderr)
    return 0


def exported(entity: Document, *, with_status: bool) -> dict[str, Any]:
    """Return the document from which an entity can be made again."""
    document = writable(entity)
    metadata = document["metadata"]
    for name in ("finalizers", "ownerReferences"):
        metadata.pop(name, None)
    # What controllers noted about earlier versions of it would mislead them about this one.
    own = {name: value for name, value in entity.get("status", {}).items() if name not in RESERVED}
    conditions = [
        {name: value for name, value in condition.items() if name != "observedGeneration"}
        for condition in entity.get("status", {}).get("conditions", ())
    ]
    status = {**own, **({"conditions": conditions} if conditions else {})}
    if with_status and status:
        metadata["annotations"] = {**metadata.get("annotations", {}), EXPORTED: "true"}
        document["status"] = status
    return document


def _asked_for(calls: Calls, options: argparse.Namespace) -> Iterator[tuple[Kind, Document]]:
    """Yield what to export with its kind, in an order in which it can be applied."""
    ordered = _known(calls)
    named = [word for word in options.kinds if "/" in word]
    if not named:
        for kind in _kinds(ordered, options):
            for entity in _entities(calls, kind, options):
                yield kind, entity
        return
    is_selected = options.selector or options.field_selector or options.all_projects
    if len(named) != len(options.kinds) or is_selected:
        raise InvalidInput("name either kinds, and select from them, or entities as KIND/NAME")
    pairs = [(_named(word, ordered), name) for word, name in names_of(named)]
    for kind, name in sorted(pairs, key=lambda pair: ordered.index(pair[0])):
        who = {"kind": _word(kind), "name": name, "project": options.project}
        yield kind, calls.call(f"{ENTITIES}/Get", who)["entity"]


def _known(calls: Calls) -> list[Kind]:
    """Return the kinds of the server, those referred to before those that refer."""
    known: dict[tuple[str, str], Kind] = {}
    for kind in calls.call(f"{ENTITIES}/Kinds", {})["kinds"]:
        known[_domain(kind), kind["name"]] = kind  # the stored version comes after older ones
    return _in_order(known.values())


def _kinds(ordered: list[Kind], options: argparse.Namespace) -> list[Kind]:
    """Return the kinds to export, in the order given."""
    words = [word for words in options.kinds for word in words.split(",") if word]
    if not words or "all" in words:
        return [
            kind
            for kind in ordered
            if options.all_projects or kind["scope"] == "project" or _is_project(kind)
        ]
    wanted = [_named(word, ordered) for word in words]
    return [kind for kind in ordered if kind in wanted]


def _in_order(kinds: Iterable[Kind]) -> list[Kind]:
    """Return kinds so that those referred to come first, as far as there are no circles.

    Projects, which hold everything else, are first of all.
    """
    left = sorted(kinds, key=lambda kind: (not _is_project(kind), _domain(kind), kind["name"]))
    ordered: list[Kind] = []
    while left:
        waiting = {kind["name"] for kind in left}
        free = next(
            (kind for kind in left if not _referred(kind) & (waiting - {kind["name"]})), left[0]
        )
        left.remove(free)
        ordered.append(free)
    return ordered


def _referred(kind: Kind) -> set[str]:
    return {name for reference in kind["references"] for name in reference["to"]}


def _entities(calls: Calls, kind: Kind, options: argparse.Namespace) -> Iterator[Document]:
    found = list_all(calls, {"kind": _word(kind), **selection_of(options)})["items"]
    for entity in found:
        metadata = entity["metadata"]
        if "deletionTimestamp" in metadata:
            continue
        if "ownerReferences" in metadata and not options.owned:
            continue
        is_other = metadata["name"] != (options.project or "default")
        if _is_project(kind) and is_other and not (options.all_projects or options.kinds):
            continue
        yield entity


def _lost_owners(entity: Document, kind: Kind) -> Iterator[str]:
    """Yield the owners that do not follow from a reference of the entity."""
    owning = [each for each in kind["references"] if each["owner"]]
    told = {
        (name, text.rpartition("/")[2])
        for each in owning
        for text in _values(entity, each["path"].split("."))
        for name in each["to"]
    }
    for owner in entity["metadata"].get("ownerReferences", ()):
        if (owner["kind"], owner["name"]) not in told:
            yield name_of({"kind": owner["kind"], "metadata": owner})


def _values(value: Any, path: list[str]) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _values(item, path)
    elif path and isinstance(value, dict):
        yield from _values(value.get(path[0]), path[1:])
    elif isinstance(value, str):
        yield value


def _named(word: str, kinds: Iterable[Kind]) -> Kind:
    """Return the kind that a word means, as the server would say."""
    name, _, domain = folded(word).partition(".")
    words = [(kind, each) for kind in kinds for each in _words(kind)]
    alike = [kind for kind, each in words if folded(each) == name]
    found = [kind for kind in alike if domain in ("", _domain(kind))]
    if not found:
        meant = closest(word, [each for _, each in words])
        hint = meant or "export takes kinds, and entities as KIND/NAME"
        raise NotFound(f"no kind {word!r}", hint=hint)
    if any(kind is not found[0] for kind in found):
        choices = ", ".join(f"{name}.{_domain(kind)}" for kind in found)
        raise InvalidInput(f"{word!r} is ambiguous: say {choices}")
    return found[0]


def _word(kind: Kind) -> str:
    """Return the word that means this kind and no other."""
    return f"{kind['name'].lower()}.{_domain(kind)}"


def _words(kind: Kind) -> list[str]:
    return [kind["name"].lower(), kind["plural"], *kind["short"]]


def _domain(kind: Kind) -> str:
    return str(kind["apiVersion"]).partition("/")[0]


def _is_project(kind: Kind) -> bool:
    return bool(kind["name"] == "Project" and _domain(kind) == "miren.dev")


def _is_masked(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_masked, value.values()))
    if isinstance(value, list):
        return any(map(_is_masked, value))
    return bool(value == MASK)
