"""Show what a kind and its attributes mean.

miren explain sandbox
miren explain sandbox.spec.containers.ports     an attribute, and what is inside
miren explain app.spec --recursive              everything inside, as an outline
"""

from __future__ import annotations

import argparse

from miren.base.errors import InvalidInput, NotFound
from miren.cli.kinds import known_kinds
from miren.entities.explaining import explanation, subject_of
from miren.entities.kinds import Kind, Kinds

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("path", metavar="KIND[.PATH]", help="such as sandbox.spec.containers")
    parser.add_argument("--recursive", action="store_true", help="show all that is inside")


def run(options: argparse.Namespace) -> int:
    """Print what is known of the path; no server is asked."""
    kind, steps = _split(options.path, known_kinds())
    print(explanation(subject_of(kind), steps, recursive=options.recursive))
    return 0


def _split(path: str, kinds: Kinds) -> tuple[Kind, list[str]]:
    """Return the kind a path begins with, and the steps into it.

    A kind's name may carry its domain, which has dots too: the longest that names one counts.
    """
    words = path.split(".")
    if not all(words):
        raise InvalidInput(f"{path!r} is no path", hint="write it as sandbox.spec.containers")
    for length in range(len(words), 1, -1):
        try:
            return kinds.resolve(".".join(words[:length])), words[length:]
        except NotFound:
            continue
    return kinds.resolve(words[0]), words[1:]
