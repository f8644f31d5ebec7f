"""Show what a sandbox said.

miren logs hello
miren logs -f hello --tail 20

With -f it ends when the sandbox is deleted.
"""

from __future__ import annotations

import argparse
import sys

from miren.base.errors import InvalidInput
from miren.cli.connection import add_options, calls_to, names_of

__all__ = ["configure", "run"]

_KINDS = ("sandbox", "sandboxes", "sb", "sandbox.miren.dev")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = f"{parser.prog} NAME [options]"
    parser.add_argument(
        "what", nargs="+", metavar="NAME", help="the sandbox, as NAME or sandbox/NAME"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    parser.add_argument("--tail", type=_lines, metavar="LINES", help="only the last ones")
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Print the log, and with --follow what comes."""
    request = {
        "name": _name(options.what),
        "project": options.project,
        "follow": options.follow,
        "tail": options.tail,
    }
    for message in calls_to(options).stream("miren.logs.v1.Logs/Read", request):
        sys.stdout.write(message["text"])
        sys.stdout.flush()
    return 0


def _name(words: list[str]) -> str:
    if len(words) == 1 and "/" not in words[0]:
        return words[0]
    named = names_of(words)
    if len(named) > 1:
        raise InvalidInput("logs are of one sandbox at a time")
    ((kind, name),) = named
    if kind.lower() not in _KINDS:
        raise InvalidInput(f"a {kind} has no logs", hint="sandboxes have, one at a time")
    return name


def _lines(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines")
    return int(text)
