"""`miren`: finds the verb, imports its module, runs it, turns errors into words and exit codes.

Exit codes: 0 done, 1 failed, 2 usage or invalid input, 3 not found, 4 conflict, 5 timeout,
6 refused, 7 unreachable.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from miren.base.errors import InvalidInput, MirenError
from miren.base.suggestions import closest

__all__ = ["VERBS", "main"]

#: verb -> (module in miren.cli, what it does)
VERBS: Mapping[str, tuple[str, str]] = {
    "apply": ("apply", "make entities what files say"),
    "get": ("get", "show entities as a table, YAML or JSON"),
    "describe": ("describe", "show all that is known of an entity"),
    "delete": ("delete", "delete entities"),
    "wait": ("wait", "wait for a condition, a phase or a deletion"),
    "logs": ("logs", "show what a sandbox said"),
    "image": ("image", "build or import images"),
    "schema": ("schema", "generate and check code from schema.yml"),
    "server": ("server", "run the server, or clean up after it"),
    "version": ("version", "show the versions of client and server"),
}

_EXIT: Mapping[str, int] = {
    "invalid_argument": 2,
    "not_found": 3,
    "aborted": 4,
    "already_exists": 4,
    "deadline_exceeded": 5,
    "failed_precondition": 6,
    "permission_denied": 6,
    "unavailable": 7,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    is_verbose = os.environ.get("MIREN_DEBUG", "") not in ("", "0")
    try:
        return _run(words)
    except MirenError as error:
        if is_verbose:
            raise
        print(_told(error), file=sys.stderr)
        return _EXIT.get(error.code, 1)
    except BrokenPipeError:
        # Whoever read our output has seen enough. Nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if words else 2
    if words[0] == "--version":
        words[0] = "version"
    verb = words[0]
    if verb not in VERBS:
        raise InvalidInput(
            f"no command {verb!r}", hint=closest(verb, VERBS) or "`miren --help` lists them"
        )
    module = import_module(f"miren.cli.{VERBS[verb][0]}")
    parser = argparse.ArgumentParser(
        prog=f"miren {verb}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.configure(parser)
    code: int = module.run(parser.parse_args(words[1:]))
    return code


def _overview() -> str:
    lines = [f"  {verb:9} {what}" for verb, (_, what) in VERBS.items()]
    return "\n".join(
        [
            "usage: miren <command> [options]",
            "",
            *lines,
            "",
            "`miren <command> --help` tells more.",
        ]
    )


def _told(error: MirenError) -> str:
    if isinstance(error, InvalidInput) and any(one.position for one in error.problems):
        text = "\n\n".join(problem.render() for problem in error.problems)
        count = len(error.problems)
        return f"{text}\n\n{count} problem{'s' if count != 1 else ''}; nothing was changed"
    text = f"error: {error.message}"
    return f"{text}\n  help: {error.hint}" if error.hint else text


if __name__ == "__main__":
    sys.exit(main())
