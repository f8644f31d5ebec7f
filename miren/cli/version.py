"""Show the versions of this command and of the server, if one answers."""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from importlib.metadata import version

from miren.base.errors import Unavailable
from miren.cli.connection import add_options, calls_to

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    add_options(parser, project=False)


def run(options: argparse.Namespace) -> int:
    """Print both versions."""
    known = {"client": version("miren")}
    with suppress(Unavailable):
        known["server"] = calls_to(options).call("miren.server.v1.Server/Status", {})["version"]
    if options.output == "json":
        print(json.dumps(known))
    else:
        print(f"client {known['client']}")
        print(f"server {known.get('server', 'is not running')}")
    return 0
