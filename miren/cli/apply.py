"""Make entities what files say: create what is missing, change what differs.

  miren apply -f sandbox.yaml
  miren apply -f folder/ -f more.yaml --dry-run=client
  generate | miren apply -f -

All files are checked before anything is sent; a problem in one stops all. They may refer to
each other in any order.
"""

from __future__ import annotations

import argparse
from typing import Any

from miren.base.errors import InvalidInput, MirenError, MissingRef
from miren.cli.connection import ENTITIES, add_options, calls_to
from miren.cli.output import name_of, print_documents
from miren.entities.documents import Document, files_of, read_documents
from miren.entities.gen import KINDS
from miren.entities.kinds import Kinds
from miren.rpc.calls import Calls

__all__ = ["configure", "load", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = f"{parser.prog} -f FILE|FOLDER|- [options]"
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        required=True,
        metavar="PATH",
        help="a file, the files of a folder, or - for the standard input; can be repeated",
    )
    parser.add_argument(
        "--dry-run",
        choices=("none", "client", "server"),
        default="none",
        help="client: only check the files; server: say what would change",
    )
    parser.add_argument(
        "--manager", default="apply", metavar="NAME", help="who owns the fields (default: apply)"
    )
    parser.add_argument("--force", action="store_true", help="take over fields others own")
    parser.add_argument(
        "-o",
        "--output",
        choices=("text", "json", "yaml", "name"),
        default="text",
        metavar="FORM",
        help="text (default), json, yaml or name",
    )
    add_options(parser)


def load(filenames: list[str]) -> list[Document]:
    """Return all documents of the files, checked; raise InvalidInput with every problem."""
    try:
        return read_documents(files_of(filenames), known_kinds())
    except InvalidInput as error:
        raise InvalidInput(error.problems, hint=error.hint or "nothing was changed") from None


def known_kinds() -> Kinds:
    """Return the kinds of this installation: ours, and those of installed controllers."""
    from miren.reconcile.plugins import load_plugins

    kinds = Kinds(KINDS)
    for plugin in load_plugins():
        for controller in plugin.controllers:
            kinds.add(type(controller).kind)
    return kinds


def run(options: argparse.Namespace) -> int:
    """Check everything, then apply it in order."""
    documents = load(options.filename)
    if not documents:
        raise InvalidInput("nothing to apply: the files hold no documents")
    if options.dry_run == "client":
        found = [document.document for document in documents]
    else:
        found = _apply_all(calls_to(options), documents, options)
    if options.output != "text":
        print_documents(found, options.output, single=len(found) == 1)
    elif options.dry_run == "client":
        for document in found:
            print(f"{name_of(document)} is valid (dry run)")
    return 0


def _apply_all(
    calls: Calls, documents: list[Document], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Apply in order; what refers to something further down comes again after it."""
    applied: dict[int, dict[str, Any]] = {}
    left = list(enumerate(documents))
    while left:
        waiting: list[tuple[int, Document]] = []
        refused: MirenError | None = None
        for place, document in left:
            try:
                applied[place] = _apply(calls, document, options)
            except MissingRef as error:
                waiting.append((place, document))
                refused = refused or error
        if len(waiting) == len(left) and refused is not None:
            raise refused
        left = waiting
    return [applied[place] for place in sorted(applied)]


def _apply(calls: Calls, document: Document, options: argparse.Namespace) -> dict[str, Any]:
    """Apply one document, say so at once, and return the entity."""
    request = {
        "document": document.document,
        "project": options.project,
        "manager": options.manager,
        "force": options.force,
        "dryRun": options.dry_run == "server",
    }
    try:
        answer = calls.call(f"{ENTITIES}/Apply", request)
    except InvalidInput as error:
        raise document.locate(error) from None
    entity: dict[str, Any] = answer["entity"]
    if options.output == "text":
        suffix = " (dry run)" if options.dry_run == "server" else ""
        print(f"{name_of(entity)} {answer['action']}{suffix}", flush=True)
    return entity
