"""Run the server in the foreground, or clean up after it.

miren server            serve until SIGTERM; sandboxes stay when it stops
miren server purge      remove what a stopped server left on this host
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from miren.base import log
from miren.server.config import Config, load

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("action", nargs="?", choices=("run", "purge"), default="run")
    parser.add_argument("--config", type=Path, metavar="FILE")
    parser.add_argument("--state-dir", metavar="FOLDER")
    parser.add_argument("--run-dir", metavar="FOLDER")
    parser.add_argument("--node-name", metavar="NAME")
    parser.add_argument("--runtime", choices=("containerd", "process"))
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--log-format", choices=("text", "json"))
    parser.add_argument(
        "--data", action="store_true", help="purge: the entities, disks and logs too"
    )


def run(options: argparse.Namespace) -> int:
    """Serve, or purge."""
    config = _config(options)
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


def _sole(error: BaseException) -> BaseException:
    """Return the one error that a group is about, or the group if it is about several."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _config(options: argparse.Namespace) -> Config:
    flags = {
        "server.state_dir": options.state_dir,
        "server.run_dir": options.run_dir,
        "server.node_name": options.node_name,
        "runtime.adapter": options.runtime,
        "log.level": options.log_level,
        "log.format": options.log_format,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    return load(options.config, flags=given)
