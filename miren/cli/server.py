"""Run the server in the foreground, look after its keys, or clean up after it.

miren server                      serve until SIGTERM; sandboxes stay when it stops
miren server --store etcd         the same, with the entities in an etcd that the server runs
miren server rotate-key           seal secrets with a new key, and those stored in the background
miren server rotate-key --drop    drop the older keys once no secret needs them
miren server purge                remove what a stopped server left on this host
"""

from __future__ import annotations

import argparse
import asyncio

from miren.base import log
from miren.base.errors import InvalidInput
from miren.cli.configuration import add_places, add_store, config_of
from miren.cli.connection import add_options, calls_to

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("action", nargs="?", choices=("run", "purge", "rotate-key"), default="run")
    add_places(parser)
    parser.add_argument("--node-name", metavar="NAME", help="of this node (default: its host's)")
    parser.add_argument(
        "--runtime",
        choices=("containerd", "process"),
        help="what runs sandboxes; process isolates nothing and needs no root",
    )
    add_store(parser)
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--log-format", choices=("text", "json"))
    parser.add_argument(
        "--data", action="store_true", help="purge: the entities, disks and logs too"
    )
    parser.add_argument("--drop", action="store_true", help="rotate-key: drop the older keys")
    add_options(parser, project=False)


def run(options: argparse.Namespace) -> int:
    """Serve, rotate the key of a running server, or purge."""
    if options.action == "rotate-key":
        return _rotate_key(options)
    if options.drop:
        raise InvalidInput("--drop goes with rotate-key")
    if options.data and options.action != "purge":
        raise InvalidInput("--data goes with purge")
    config = config_of(options)
    log.configure(config.log.level, config.log.format)
    if options.action == "purge":
        from miren.server.purge import purge

        for line in asyncio.run(purge(config, data=options.data)):
            print(line)
        return 0
    from miren.server.standalone import run as serve

    try:
        asyncio.run(serve(config))
    except BaseExceptionGroup as group:
        # What stops the server comes through the task groups of its parts.
        raise _sole(group) from group
    return 0


def _rotate_key(options: argparse.Namespace) -> int:
    request = {"drop": options.drop}
    answer = calls_to(options).call("miren.server.v1.Server/RotateKey", request)
    older = ", ".join(answer["older"]) or "none"
    print(f"primary key {answer['primary']}; older keys: {older}")
    return 0


def _sole(error: BaseException) -> BaseException:
    """Return the one error that a group is about, or the group if it is about several."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
