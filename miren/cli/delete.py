"""Delete entities, by name or as files name them.

  miren delete sandbox hello
  miren delete -f sandbox.yaml

Waits until they are gone, unless --wait=false.
"""

from __future__ import annotations

import argparse

from miren.base.errors import InvalidInput, NotFound
from miren.cli.connection import ENTITIES, add_options, calls_to, names_of
from miren.cli.wait import seconds

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", nargs="*", metavar="KIND NAME... | KIND/NAME...")
    parser.add_argument("-f", "--filename", action="append", default=[], metavar="FILE|FOLDER|-")
    parser.add_argument(
        "--wait", choices=("true", "false"), nargs="?", const="true", default="true"
    )
    parser.add_argument("--timeout", type=seconds, default=60.0, help="how long to wait")
    parser.add_argument("--ignore-not-found", action="store_true")
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Begin every deletion, then wait for them all."""
    if bool(options.what) == bool(options.filename):
        raise InvalidInput("name entities, or give files with -f")
    calls, begun = calls_to(options), []
    for kind, name, project in _targets(options):
        request = {"kind": kind, "name": name, "project": project}
        try:
            answer = calls.call(f"{ENTITIES}/Delete", request)
        except NotFound:
            if not options.ignore_not_found:
                raise
            continue
        if not answer["gone"]:
            begun.append({**request, "uid": answer["entity"]["metadata"]["uid"]})
        print(f"{kind}/{name} deleted" if answer["gone"] else f"{kind}/{name} is being deleted")
    if options.wait == "true":
        for request in begun:
            awaited = {**request, "for": "delete", "timeoutSeconds": options.timeout}
            calls.call(f"{ENTITIES}/Wait", awaited, timeout=options.timeout + 5)
            print(f"{request['kind']}/{request['name']} deleted")
    return 0


def _targets(options: argparse.Namespace) -> list[tuple[str, str, str]]:
    if options.what:
        return [(kind, name, options.project) for kind, name in names_of(options.what)]
    from miren.cli.apply import load

    # The other way round than they were applied: who refers to others goes first.
    return [
        (document.kind.singular, document.name, document.project or options.project)
        for document in reversed(load(options.filename))
    ]
