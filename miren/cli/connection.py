"""Which server a command talks to, and the options all such commands share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from miren.base.errors import InvalidInput
from miren.rpc.calls import Calls

__all__ = ["ENTITIES", "add_options", "calls_to", "name_arguments", "names_of"]

ENTITIES = "miren.entities.v1.Entities"


def add_options(parser: argparse.ArgumentParser, *, project: bool = True) -> None:
    """Add --server and --project."""
    parser.add_argument(
        "--server", metavar="ADDRESS", help="unix:///path of the server ($MIREN_SERVER)"
    )
    if project:
        parser.add_argument("-p", "--project", default="", help="the project (default: default)")


def calls_to(options: argparse.Namespace) -> Calls:
    """Return calls to the server that the options, the environment or the defaults name."""
    return Calls(options.server or os.environ.get("MIREN_SERVER") or f"unix://{_socket()}")


def _socket() -> Path:
    """Return root's socket, or the user's own where root's cannot be used."""
    candidates = [Path("/run/miren/miren.sock")]
    if os.geteuid() != 0:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
        own = Path(runtime) / "miren" if runtime else Path(state) / "miren/run"
        candidates.insert(0, own / "miren.sock")
    for candidate in candidates:
        if candidate.exists():
            return candidate
    return candidates[0]


def name_arguments(parser: argparse.ArgumentParser, *, many: bool) -> None:
    """Add `KIND NAME...` or `KIND/NAME...`."""
    parser.add_argument("what", nargs="+" if many else "*", metavar="KIND [NAME] | KIND/NAME")


def names_of(words: list[str]) -> list[tuple[str, str]]:
    """Return (kind, name) of each entity named as `sandbox a b` or `sandbox/a disk/b`."""
    if any("/" in word for word in words):
        pairs = [word.partition("/") for word in words]
        if not all(kind and slash and name for kind, slash, name in pairs):
            raise InvalidInput("name entities either as KIND NAME... or as KIND/NAME...")
        return [(kind, name) for kind, _, name in pairs]
    kind, *names = words
    if not names:
        raise InvalidInput(f"which {kind}? give a name", hint=f"`miren get {kind}` lists them")
    return [(kind, name) for name in names]


def labels_of(text: str) -> dict[str, Any]:
    """Return the labels of a selector `a=b,c=d`."""
    pairs = [part.partition("=") for part in text.split(",") if part]
    if not all(key and equals for key, equals, _ in pairs):
        raise InvalidInput(f"a selector is key=value[,key=value], not {text!r}")
    return {key: value for key, _, value in pairs}
