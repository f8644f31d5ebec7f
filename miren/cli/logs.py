"""Show what a sandbox said.

miren logs hello
miren logs -f hello --tail 20
"""

from __future__ import annotations

import argparse
import sys

from miren.cli.connection import add_options, calls_to

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", help="the sandbox, as NAME or sandbox/NAME")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    parser.add_argument("--tail", type=int, default=-1, metavar="LINES", help="only the last ones")
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Print the log, and with --follow what comes."""
    request = {
        "name": options.name.rpartition("/")[2],
        "project": options.project,
        "follow": options.follow,
        "tail": options.tail,
    }
    for message in calls_to(options).stream("miren.logs.v1.Logs/Read", request):
        sys.stdout.write(message["text"])
        sys.stdout.flush()
    return 0
