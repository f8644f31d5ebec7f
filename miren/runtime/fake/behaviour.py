"""What a fake container does, read from its argument vector.

    exit CODE           end at once
    print TEXT          log the text, end with 0
    print-env NAME      log a variable, end with 0
    print-dir           log the working dir, end with 0
    exit-on-term CODE   log "ready", run until asked to end, then end with the code
    ignore-term         log "ready", run until killed
    listen PORT PAGE    answer with the page on that port until asked to end
    missing             cannot be started: there is no such command

Any other command runs in silence until it is asked to end. The words are the fake's own, so that
nobody takes it for a shell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["KILLED", "TERMINATED", "Behaviour", "behave"]

TERMINATED = 128 + 15
KILLED = 128 + 9


@dataclass(frozen=True, slots=True)
class Behaviour:
    """`exits_with` None runs until stopped; `on_term` None then ignores being asked to."""

    output: str = ""
    exits_with: int | None = None
    on_term: int | None = TERMINATED
    port: int | None = None
    page: str = ""


def behave(
    command: Sequence[str], *, env: Mapping[str, str], working_dir: str
) -> Behaviour | None:
    """Return what the command does, or None if there is no such command."""
    match tuple(command):
        case ("missing", *_):
            return None
        case ("exit", code):
            return Behaviour(exits_with=int(code))
        case ("print", text):
            return Behaviour(output=f"{text}\n", exits_with=0)
        case ("print-env", name):
            return Behaviour(output=f"{env.get(name, '')}\n", exits_with=0)
        case ("print-dir",):
            return Behaviour(output=f"{working_dir}\n", exits_with=0)
        case ("exit-on-term", code):
            return Behaviour(output="ready\n", on_term=int(code))
        case ("ignore-term",):
            return Behaviour(output="ready\n", on_term=None)
        case ("listen", port, page):
            return Behaviour(port=int(port), page=page)
    return Behaviour()
