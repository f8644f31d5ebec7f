"""Which server a command talks to, and the options and arguments such commands share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from miren.base.errors import InvalidInput
from miren.rpc.calls import Calls

__all__ = [
    "ENTITIES",
    "add_dry_run",
    "add_manager",
    "add_names",
    "add_options",
    "calls_to",
    "kinds_of",
    "names_of",
    "seconds",
]

ENTITIES = "miren.entities.v1.Entities"
_LONGEST = 24 * 3600.0


def add_options(
    parser: argparse.ArgumentParser, *, project: bool = True, short: bool = True
) -> None:
    """Add --server and --project, the latter with its short form unless -p means another."""
    if project:
        parser.add_argument(
            *(["-p"] if short else []),
            "--project",
            default="",
            metavar="NAME",
            help="the project (default: default)",
        )
    parser.add_argument(
        "--server", metavar="ADDRESS", help="unix:///path of its socket (default: $MIREN_SERVER)"
    )


def add_dry_run(parser: argparse.ArgumentParser, *, tells: str, on_client: bool = False) -> None:
    """Add --dry-run; `tells` is what the server then only says; `on_client` adds checks here."""
    forms = ("none", "client", "server") if on_client else ("none", "server")
    here = "client: only check the files; " if on_client else ""
    parser.add_argument(
        "--dry-run", choices=forms, default="none", help=f"{here}server: only say what {tells}"
    )


def add_manager(parser: argparse.ArgumentParser, *, default: str, owns: str) -> None:
    """Add --manager, with kubectl's name for it; `owns` is what the manager comes to own."""
    parser.add_argument(
        "--manager",
        "--field-manager",
        default=default,
        metavar="NAME",
        help=f"who owns {owns} (default: {default})",
    )


def add_names(parser: argparse.ArgumentParser, *, more: str = "") -> None:
    """Add the arguments that `names_of` reads; `more` is another form for the usage."""
    verb = parser.prog
    parser.usage = "\n       ".join(
        [f"{verb} KIND NAME... [options]", f"{verb} KIND/NAME... [options]", *filter(None, [more])]
    )
    parser.add_argument(
        "what", nargs="*", metavar="KIND NAME", help="such as `sandbox a b` or `sandbox/a disk/b`"
    )


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


def names_of(words: list[str]) -> list[tuple[str, str]]:
    """Return (kind, name) of each entity named as `sandbox a b` or `sandbox/a disk/b`."""
    if not words:
        raise InvalidInput("name a kind", hint="`miren api-resources` lists them")
    if any("/" in word for word in words):
        pairs = [word.partition("/") for word in words]
        if not all(kind and slash and name for kind, slash, name in pairs):
            raise InvalidInput("name entities either as KIND NAME... or as KIND/NAME...")
        return [(kind, name) for kind, _, name in pairs]
    first, *names = words
    kinds = kinds_of(first)
    if not names:
        raise InvalidInput(f"which {first}? give a name", hint=f"`miren get {first}` lists them")
    return [(kind, name) for kind in kinds for name in names]


def kinds_of(word: str) -> list[str]:
    """Return the kinds that a word such as `apps,routes` names."""
    kinds = [kind for kind in word.split(",") if kind]
    if not kinds:
        raise InvalidInput("name a kind", hint="`miren api-resources` lists them")
    return kinds


def seconds(text: str) -> float:
    """Return a timeout given as `90`, `90s` or `5m`, in seconds."""
    from miren.base.quantities import Duration

    try:
        span = float(text) if _is_number(text) else Duration.parse(text).total_seconds()
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not 0 < span <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {_LONGEST / 3600:g} hours")
    return span


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
