"""Look behind the entities: check what the store keeps beside them, and repair it.

miren debug fsck
miren debug fsck --repair

fsck computes every index, reference and unique value from the entities again and compares. It ends
with 0 where nothing is wrong or all of it was repaired, and with 1 otherwise. Repairing never
touches an entity, and can run beside everything else.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from miren.cli.connection import add_options, calls_to
from miren.cli.printable import printable

__all__ = ["configure", "run"]

_FSCK = "miren.server.v1.Server/Fsck"
_SECONDS = 300.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="fsck")
    fsck = actions.add_parser("fsck", help="check the store, and repair it")
    fsck.add_argument("--repair", action="store_true", help="put right what follows from entities")
    fsck.add_argument("-o", "--output", choices=("text", "json"), default="text")
    add_options(fsck, project=False)


def run(options: argparse.Namespace) -> int:
    """Check the store, and repair it where that is asked for."""
    answer = calls_to(options).call(_FSCK, {"repair": options.repair}, timeout=_SECONDS)
    if options.output == "json":
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        print("\n".join(map(printable, _lines(answer, is_repairing=options.repair))))
    return 1 if answer["left"] else 0


def _lines(answer: Mapping[str, Any], *, is_repairing: bool) -> Iterator[str]:
    for word, findings in (("warning", answer["warnings"]), ("error", answer["problems"])):
        yield from (f"{word}: {_told(each)}" for each in findings)
    yield from answer["repaired"]
    for kind, count in sorted(answer["unknown"].items()):
        yield f"{_many(count, 'entity')} of {kind}: not checked, that kind is not known"
    seen = f"{_many(answer['entities'], 'entity')} and {_many(answer['keys'], 'key')}"
    yield f"{seen} at revision {answer['revision']}: {_outcome(answer, is_repairing)}"


def _outcome(answer: Mapping[str, Any], is_repairing: bool) -> str:
    problems, left = answer["problems"], answer["left"]
    if not problems:
        return "nothing to repair"
    if not is_repairing:
        can = any(each["repairable"] for each in problems)
        return _many(len(problems), "problem") + ("; --repair puts them right" if can else "")
    rest = f", {_many(len(left), 'problem')} left" if left else ""
    return f"{_many(len(problems) - len(left), 'problem')} repaired{rest}"


def _told(finding: Mapping[str, Any]) -> str:
    whose = f" of {finding['entity']}" if finding["entity"] else ""
    told = f": {finding['message']}" if finding["message"] else ""
    return f"{finding['fault']}{whose}: {finding['key']}{told}"


def _many(count: int, what: str) -> str:
    plural = "entities" if what == "entity" else f"{what}s"
    return f"{count} {what if count == 1 else plural}"
