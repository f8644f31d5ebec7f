"""Back up, move and look after the store: what keeps the entities.

miren store status                 which it is, where it stands, what is wrong with it
miren store snapshot FILE          a copy in its own form, with FILE.manifest.json beside
miren store export FILE            everything as JSON lines, which any backend takes; - is stdout
miren store move --to etcd|sqlite  change the backend while the server runs
miren store compact                forget history; entities stay
miren store defrag                 give the space that this freed back to the disk
miren store prune                  remove the stores that were replaced and kept

These ask the server. The next two work in its place, while it is stopped, on the store that its
configuration names:

miren store restore FILE           make the store anew from a snapshot
miren store import FILE            make the store anew from an export; - is stdin
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from miren.base.errors import MirenError, OutcomeUnknown, Unavailable
from miren.cli.connection import add_options, calls_to
from miren.cli.printable import printable
from miren.cli.progress import Progress, size
from miren.cli.store_files import new_file, readable_file
from miren.cli.store_pruning import add_pruning, prune, told_of_replaced

__all__ = ["configure", "run"]

_SERVICE = "miren.store.v1.Store"
_SECONDS = 3600.0
_RESTART_WITHIN = 60.0
_AFTER_A_MOVE = (
    "start the server: `miren store status` says which store it has, and that one is whole; "
    "if it is the one before, `miren store move` can be repeated"
)

Answer = Mapping[str, Any]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    online = {
        "status": "show which store it is and how it is",
        "snapshot": "write a copy in the store's own form",
        "export": "write everything as JSON lines",
        "move": "change the backend",
        "compact": "forget history",
        "defrag": "give unused space back to the disk",
        "prune": "remove the stores that were replaced and kept",
    }
    for name, what in online.items():
        action = actions.add_parser(name, help=what)
        if name in ("snapshot", "export"):
            action.add_argument("file", metavar="FILE", help="the file to make")
        if name == "move":
            action.add_argument("--to", choices=("etcd", "sqlite"), required=True)
        if name == "compact":
            action.add_argument(
                "--revision", type=_revision, default=0, metavar="N", help="up to N (default: now)"
            )
        if name == "prune":
            add_pruning(action)
        _add_output(action)
        add_options(action, project=False)
    _configure_offline(actions)


def _configure_offline(actions: Any) -> None:
    from miren.cli.configuration import add_places, add_store

    for name, what in {
        "restore": "make the store anew from a snapshot; the server must be stopped",
        "import": "make the store anew from an export; the server must be stopped",
    }.items():
        action = actions.add_parser(name, help=what)
        action.add_argument("file", metavar="FILE", help="what to read")
        if name == "import":
            action.add_argument(
                "--force", action="store_true", help="put it in the place of a store that is there"
            )
        add_places(action)
        add_store(action)
        _add_output(action)


def _revision(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no revision: they begin at 1")
    return int(text)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(options: argparse.Namespace) -> int:
    """Do what was asked for."""
    actions = {
        "status": _status,
        "snapshot": _snapshot,
        "export": _export,
        "move": _move,
        "compact": _compact,
        "defrag": _defragment,
        "prune": prune,
        "restore": _restore,
        "import": _import,
    }
    answer, lines = actions[options.action](options)
    if options.output == "json":
        print(json.dumps(answer, indent=2, ensure_ascii=False), file=_out(options))
    else:
        for line in lines:
            print(printable(line), file=_out(options))
    return 1 if options.action == "status" and answer["alarms"] else 0


def _out(options: argparse.Namespace) -> IO[str]:
    """Return where the outcome is told; not where the export itself goes."""
    return sys.stderr if options.action == "export" and options.file == "-" else sys.stdout


def _status(options: argparse.Namespace) -> tuple[Answer, list[str]]:
    answer = calls_to(options).call(f"{_SERVICE}/Status", {})
    own = ", run by the server" if answer["managed"] else ""
    moving = ["it is being moved"] if answer["moving"] else []
    return answer, [
        f"backend: {answer['backend']}{own}",
        f"uuid: {answer['uuid']}",
        f"at revision {answer['revision']}, with history from revision {answer['compacted']} on",
        f"size: {size(answer['size'])}",
        *(f"alarm: {alarm}" for alarm in answer["alarms"] or ["none"]),
        *moving,
        *(f"kept: {told_of_replaced(each)}" for each in answer["replaced"]),
    ]


def _compact(options: argparse.Namespace) -> tuple[Answer, list[str]]:
    request = {"revision": str(options.revision)}
    answer = calls_to(options).call(f"{_SERVICE}/Compact", request, timeout=_SECONDS)
    return answer, [f"history begins at revision {answer['compacted']}"]


def _defragment(options: argparse.Namespace) -> tuple[Answer, list[str]]:
    with Progress() as progress:
        progress.tell("defragmenting; writes wait")
        answer = calls_to(options).call(f"{_SERVICE}/Defragment", {}, timeout=_SECONDS)
    return answer, [f"{size(answer['sizeBefore'])} before, {size(answer['size'])} now"]


def _snapshot(options: argparse.Namespace) -> tuple[Answer, list[str]]:
    path = Path(options.file).absolute()
    with Progress() as progress:
        progress.tell("taking a snapshot")
        (answer,) = calls_to(options).stream(f"{_SERVICE}/Snapshot", {"path": str(path)})
    manifest = answer["manifest"]
    return answer, [
        f"{options.file}: {manifest['backend']} at revision {manifest['revision']}, "
        f"{size(manifest['size'])}"
    ]


def _move(options: argparse.Namespace) -> tuple[Answer, list[str]]:
    # Whatever fails after this, there was a server.
    calls_to(options).call(f"{_SERVICE}/Status", {})
    try:
        answer, status = _follow_move(options)
    except (Unavailable, OutcomeUnknown) as error:
        if _is_there(options):
            raise
        raise type(error)(error.message, hint=_AFTER_A_MOVE) from error
    if not answer and status["backend"] != options.to:
        raise MirenError("the server stopped the move", hint="the store is as it was")
    counted = f", {answer['moved']} keys" if answer else ""
    lines = [f"the store is {options.to} now{counted}", *_kept(answer.get("kept", ""))]
    return {**answer, **status}, lines


def _follow_move(options: argparse.Namespace) -> tuple[Answer, Answer]:
    """Return what the move answered, if it came to that, and the status afterwards."""
    answer: Answer = {}
    with Progress() as progress:
        for message in calls_to(options).stream(f"{_SERVICE}/Move", {"to": options.to}):
            if "moved" in message:
                answer = message
            else:
                progress.tell(f"{message['step']}: {message['keys']} keys")
        progress.tell("waiting for the server to go on")
        return answer, _answer_of_new(options)


def _is_there(options: argparse.Namespace) -> bool:
    try:
        calls_to(options).call(f"{_SERVICE}/Status", {})
    except MirenError:
        return False
    return True


def _answer_of_new(options: argparse.Namespace) -> Answer:
    """Return the status of the store once the server has gone on with the new one."""
    import time

    deadline = time.monotonic() + _RESTART_WITHIN
    while True:
        try:
            status = calls_to(options).call(f"{_SERVICE}/Status", {})
            if status["backend"] == options.to or not status["moving"]:
                return status
        except MirenError as error:
            if time.monotonic() > deadline or not isinstance(error, Unavailable):
                raise
        time.sleep(0.1)


def _export(options: argparse.Namespace) -> tuple[Answer, list[str]]:
    import hashlib

    hashed, keys, last = hashlib.sha256(), 0, b""
    with Progress() as progress, new_file(options.file) as file:
        for message in calls_to(options).stream(f"{_SERVICE}/Export", {}):
            for line in message["lines"].encode().splitlines(keepends=True):
                hashed.update(last)
                file.write(line)
                last = line
            keys = message["keys"]
            progress.tell(f"{keys} keys")
        footer = json.loads(last or b"{}")
        if footer != {"keys": keys, "sha256": hashed.hexdigest()}:
            raise Unavailable("the export came without its end", hint="try again")
    answer = {"file": options.file, **footer}
    return answer, [f"{options.file}: {keys} keys"]


def _restore(options: argparse.Namespace) -> tuple[Answer, list[str]]:
    import asyncio

    from miren.cli.configuration import config_of
    from miren.server.stores.replacing import restore

    source, config = Path(options.file), config_of(options)
    with Progress() as progress:
        manifest, replaced = asyncio.run(
            restore(config, source, tell=lambda done: progress.tell(f"{size(done)} read"))
        )
    answer = {"uuid": replaced.uuid, "from": manifest.uuid, "kept": str(replaced.kept or "")}
    lines = [f"restored {options.file}, taken {manifest.created} at revision {manifest.revision}"]
    return {**answer, "revision": str(manifest.revision)}, [*lines, *_kept(replaced.kept)]


def _import(options: argparse.Namespace) -> tuple[Answer, list[str]]:
    import asyncio

    from miren.cli.configuration import config_of
    from miren.server.stores.replacing import import_export

    config = config_of(options)
    with Progress() as progress, readable_file(options.file) as source:
        header, replaced = asyncio.run(
            import_export(
                config,
                source,
                force=options.force,
                tell=lambda keys: progress.tell(f"{keys} keys"),
            )
        )
    answer = {"uuid": replaced.uuid, "from": header.uuid, "kept": str(replaced.kept or "")}
    lines = [f"imported {header.keys} keys"]
    return {**answer, "keys": header.keys}, [*lines, *_kept(replaced.kept)]


def _kept(path: Path | str | None) -> list[str]:
    then = "once all is well, `miren store prune` removes it"
    return [f"the store before is kept at {path}; {then}"] if path else []
