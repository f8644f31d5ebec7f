"""Make entities what files say: create what is missing, change what differs.

  miren apply -f sandbox.yaml
  miren apply -f folder/ -f more.yaml --dry-run=client
  generate | miren apply -f -

All files are checked before anything is sent; a problem in one stops all. They may refer to
each other in any order.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from miren.base.errors import Conflict, InvalidInput, MirenError, MissingRef, Refused
from miren.cli.connection import ENTITIES, add_dry_run, add_manager, add_options, calls_to
from miren.cli.kinds import known_kinds
from miren.cli.output import add_output, name_of, print_documents
from miren.cli.printable import printable
from miren.entities.documents import Document, files_of, read_documents
from miren.rpc.calls import Calls

__all__ = [
    "add_files",
    "add_management",
    "configure",
    "in_order",
    "load",
    "placed",
    "request_of",
    "run",
]

T = TypeVar("T")

_ATTEMPTS = 10  # at a status that controllers write too


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_files(parser)
    add_dry_run(parser, tells="would change", on_client=True)
    add_management(parser)
    add_output(parser)
    add_options(parser)


def add_files(parser: argparse.ArgumentParser) -> None:
    """Add -f, which has to be there."""
    parser.usage = f"{parser.prog} -f FILE|FOLDER|- [options]"
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        required=True,
        metavar="PATH",
        help="a file, the files of a folder, or - for the standard input; can be repeated",
    )


def add_management(parser: argparse.ArgumentParser) -> None:
    """Add --manager and --force, with kubectl's names for them."""
    add_manager(parser, default="apply", owns="the fields")
    parser.add_argument(
        "--force", "--force-conflicts", action="store_true", help="take over fields others own"
    )


def load(filenames: list[str]) -> list[Document]:
    """Return all documents of the files, checked; raise InvalidInput with every problem."""
    try:
        return read_documents(files_of(filenames), known_kinds())
    except InvalidInput as error:
        raise InvalidInput(error.problems, hint=error.hint or "nothing was changed") from None


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


def in_order(
    documents: Sequence[Document],
    apply: Callable[[Document], T],
    *,
    otherwise: Callable[[Document, MissingRef], T] | None = None,
) -> list[T]:
    """Return what `apply` makes of each, in the order given.

    Projects come first. What refers to something further down comes again after it; what still
    refers to nothing raises MissingRef, or is what `otherwise` makes of it.
    """
    found: dict[int, T] = {}
    left = sorted(enumerate(documents), key=lambda each: each[1].kind.name != "Project")
    while left:
        waiting: list[tuple[int, Document]] = []
        refused: list[MissingRef] = []
        for place, document in left:
            try:
                found[place] = apply(document)
            except MissingRef as error:
                waiting.append((place, document))
                refused.append(error)
        if len(waiting) == len(left):
            if otherwise is None:
                raise placed(waiting[0][1], refused[0]) from None
            for (place, document), reason in zip(waiting, refused, strict=True):
                found[place] = otherwise(document, reason)
            break
        left = waiting
    return [found[place] for place in sorted(found)]


def placed(document: Document, error: InvalidInput | Conflict | Refused) -> MirenError:
    """Return an error of the same class that also says where the document stands in its file."""
    if isinstance(error, InvalidInput):
        return document.locate(error)
    at = document.position
    # Several reasons stand below each other.
    told = error.message.replace("\n", "\n  ")
    between = "\n  " if told != error.message else " "
    message = f"{name_of(document.document)} ({at.file}:{at.line}):{between}{told}"
    return type(error)(message, hint=error.hint, entity=error.entity)


def request_of(
    document: Document, options: argparse.Namespace, *, dry_run: bool
) -> dict[str, Any]:
    """Return what asks a server to apply a document."""
    return {
        "document": document.document,
        "project": options.project,
        "manager": options.manager,
        "force": options.force,
        "dryRun": dry_run,
    }


def _apply_all(
    calls: Calls, documents: list[Document], options: argparse.Namespace
) -> list[dict[str, Any]]:
    creates = False

    def apply(document: Document) -> dict[str, Any]:
        nonlocal creates
        answer = _apply(calls, document, options)
        creates = creates or answer["action"] == "created"
        entity: dict[str, Any] = answer["entity"]
        return entity

    def otherwise(document: Document, error: MissingRef) -> dict[str, Any]:
        # A dry run creates nothing that others could refer to, so this may well be right.
        if not creates:
            raise placed(document, error) from None
        if options.output == "text":
            told = f"{name_of(document.document)} not checked (dry run): {error.message}"
            print(printable(told, keep="\n"))
        return document.document

    is_dry = options.dry_run == "server"
    return in_order(documents, apply, otherwise=otherwise if is_dry else None)


def _apply(calls: Calls, document: Document, options: argparse.Namespace) -> dict[str, Any]:
    """Apply one document, say so at once, and return the answer."""
    is_dry = options.dry_run == "server"
    try:
        answer = calls.call(f"{ENTITIES}/Apply", request_of(document, options, dry_run=is_dry))
        if document.status is not None and not is_dry:
            answer["entity"] = _write_status(calls, answer["entity"], document.status)
    except MissingRef:
        raise  # it may be made further down
    except (InvalidInput, Conflict, Refused) as error:
        raise placed(document, error) from None
    if options.output == "text":
        suffix = " (dry run)" if is_dry else ""
        print(f"{name_of(answer['entity'])} {answer['action']}{suffix}", flush=True)
    return answer


def _write_status(calls: Calls, entity: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    """Write an exported status over whatever is there, and return the entity."""
    for attempt in range(_ATTEMPTS):
        try:
            asked = {"entity": {**entity, "status": status}}
            entity = calls.call(f"{ENTITIES}/UpdateStatus", asked)["entity"]
            break
        except Conflict:
            if attempt == _ATTEMPTS - 1:
                raise
            head = entity["metadata"]
            who = {"name": head["name"], "project": head.get("project", "")}
            kind = f"{entity['kind'].lower()}.{entity['apiVersion'].partition('/')[0]}"
            entity = calls.call(f"{ENTITIES}/Get", {"kind": kind, **who})["entity"]
    return entity
