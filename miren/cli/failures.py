"""How errors are told to people, and which exit codes they have.

Exit codes: 0 done, 1 failed, 2 usage or invalid input, 3 not found, 4 conflict, 5 timeout,
6 refused, 7 unreachable.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from miren.base.errors import InvalidInput, MirenError
from miren.cli.printable import printable

__all__ = ["Failures", "exit_code", "told"]

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
#: Errors that are about one entity; the next one may fare better.
_OF_ONE = {"not_found", "aborted", "deadline_exceeded", "failed_precondition"}


def exit_code(error: MirenError) -> int:
    """Return the exit code of a command that ended with this error."""
    return _EXIT.get(error.code, 1)


def told(error: MirenError) -> str:
    """Return an error as it is printed, with what a terminal would act on escaped."""
    return printable(_told(error), keep="\n\t")


def _told(error: MirenError) -> str:
    if isinstance(error, InvalidInput) and any(one.position for one in error.problems):
        text = "\n\n".join(problem.render() for problem in error.problems)
        count = len(error.problems)
        summary = f"{count} problem{'s' if count != 1 else ''}"
        return f"{text}\n\n{summary}; {error.hint}" if error.hint else f"{text}\n\n{summary}"
    text = f"error: {error.message}"
    return f"{text}\n  help: {error.hint}" if error.hint else text


class Failures:
    """Lets a command go on with its other entities; `code` is the exit code of the first."""

    def __init__(self) -> None:
        self.code = 0

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Print an error that is about one entity; let others pass."""
        try:
            yield
        except MirenError as error:
            if error.code not in _OF_ONE:
                raise
            sys.stdout.flush()  # in the order in which things happened, where both go to one place
            print(told(error), file=sys.stderr)
            self.code = self.code or exit_code(error)
