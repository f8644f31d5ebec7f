"""`miren`: finds the verb, imports its module, runs it, turns errors into words and exit codes.

Exit codes are in `failures`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from io import TextIOWrapper

from miren.base.errors import InvalidInput, MirenError
from miren.base.suggestions import closest
from miren.cli.failures import exit_code, told
from miren.cli.parsing import Parser

__all__ = ["VERBS", "main"]

#: verb -> (module in miren.cli, what it does)
VERBS: Mapping[str, tuple[str, str]] = {
    "get": ("get", "show entities as a table, YAML or JSON"),
    "describe": ("describe", "show all that is known of an entity"),
    "events": ("events", "show what happened to entities lately"),
    "logs": ("logs", "show what a sandbox said"),
    "wait": ("wait", "wait for a condition, a phase or a deletion"),
    "export": ("export", "write entities as files that can be applied"),
    "apply": ("apply", "make entities what files say"),
    "diff": ("diff", "show what applying files would change"),
    "edit": ("edit", "change entities in an editor"),
    "patch": ("patch", "change a part of an entity"),
    "label": ("label", "set labels, or take them off"),
    "annotate": ("annotate", "set annotations, or take them off"),
    "delete": ("delete", "delete entities"),
    "api-resources": ("api_resources", "show which kinds of entities there are"),
    "explain": ("explain", "show what a kind and its attributes mean"),
    "schema": ("schema", "generate code from schema.yml, compare, import, export"),
    "plugins": ("plugins", "list installed plugins, check them, begin a new one"),
    "image": ("image", "build or import images"),
    "server": ("server", "run the server, rotate its keys, or clean up after it"),
    "store": ("store", "back up, move and look after what keeps the entities"),
    "debug": ("debug", "check the store, and repair it"),
    "version": ("version", "show the versions of client and server"),
}

#: The verbs that begin a group in the overview.
_GROUPS: Mapping[str, str] = {
    "get": "Look at entities",
    "apply": "Change entities",
    "api-resources": "Learn and define kinds",
    "image": "Run it",
}

#: Other words for a verb that mean the same.
_ALIASES: Mapping[str, str] = {"plugin": "plugins"}

_ENDING = """\
`miren <command> --help` tells more; options come after the command.

Environment:
  MIREN_SERVER   the server's address, unix:///path of its socket
  MIREN_DEBUG=1  show a traceback with an error

Exit codes: 0 done, 1 failed, 2 usage or invalid input, 3 not found, 4 conflict, 5 timeout,
6 refused, 7 no server; `miren diff` ends with 1 where something differs."""

#: What other tools call our verbs.
_ELSEWHERE: Mapping[str, str] = {
    "create": "apply",
    "replace": "apply",
    "set": "patch",
    "dump": "export",
    "backup": "store",
    "snapshot": "store",
    "restore": "store",
    "run": "apply",
    "ls": "get",
    "list": "get",
    "ps": "get",
    "rm": "delete",
    "log": "logs",
    "event": "events",
    "inspect": "describe",
    "kinds": "api-resources",
    "images": "image",
    "build": "image",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _prepare_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    is_verbose = os.environ.get("MIREN_DEBUG", "") not in ("", "0")
    try:
        code = _run(words)
        sys.stdout.flush()
    except MirenError as error:
        if is_verbose:
            raise
        return _fail(told(error), exit_code(error))
    except BrokenPipeError:
        # Whoever read our output has seen enough. Nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if is_verbose:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"error: {where}{error.strerror or error}", 1)
    except KeyboardInterrupt:
        return 130
    return code


def _prepare_streams() -> None:
    """Make the standard streams ones that can be read and written, whoever started us.

    Those that were closed are empty; what comes in is UTF-8 in every locale, and what a locale
    cannot show goes out as escapes.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(text: str, code: int) -> int:
    sys.stdout.flush()  # in the order in which things happened, where both go to one place
    print(text, file=sys.stderr)
    return code


def _run(words: list[str]) -> int:
    if words[:1] == ["help"] and len(words) > 1:
        words = [words[1], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if words else 2
    if words[0] == "--version":
        words[0] = "version"
    verb = _ALIASES.get(words[0], words[0])
    if verb.startswith("-"):
        raise InvalidInput(
            f"the command comes first, not {verb!r}",
            hint="options come after it: `miren get sandboxes --project shop`",
        )
    if verb not in VERBS:
        meant = _ELSEWHERE.get(verb)
        hint = f"did you mean {meant!r}?" if meant else closest(verb, VERBS)
        raise InvalidInput(f"no command {verb!r}", hint=hint or "`miren --help` lists them")
    module = import_module(f"miren.cli.{VERBS[verb][0]}")
    parser = Parser(prog=f"miren {verb}", description=module.__doc__)
    module.configure(parser)
    try:
        code: int = module.run(parser.parse(words[1:]))
    except SystemExit as done:  # argparse ends so after it has printed a help text
        return int(done.code or 0)
    return code


def _overview() -> str:
    lines = ["usage: miren <command> [options]"]
    for verb, (_, what) in VERBS.items():
        if verb in _GROUPS:
            lines += ["", f"{_GROUPS[verb]}:"]
        lines.append(f"  {verb:14} {what}")
    return "\n".join([*lines, "", _ENDING])


if __name__ == "__main__":
    sys.exit(main())
