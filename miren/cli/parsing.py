"""Command line options, with errors in our words: what is wrong, and what was probably meant."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import NoReturn

from miren.base.errors import InvalidInput
from miren.base.suggestions import closest

__all__ = ["Parser"]

#: What other tools call our options.
_ELSEWHERE: Mapping[str, str] = {
    "-n": "--project",
    "--namespace": "--project",
    "--all-namespaces": "--all-projects",
    "--follow-logs": "--follow",
    "--context": "--server",
}


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """As wide everywhere: asking for the terminal's width imports more than a command needs."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=88)


class Parser(argparse.ArgumentParser):
    """Raises InvalidInput instead of printing its usage and exiting."""

    def __init__(self, **options: object) -> None:
        super().__init__(
            **options,  # type: ignore[arg-type]  # argparse's own, as subparsers pass them
            allow_abbrev=False,
            formatter_class=_Formatter,
        )

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Return the options; raise InvalidInput for what is not one."""
        if self._subparsers is None:  # else the options are those of a subparser
            self._check_options(words)
            # Arguments may stand on both sides of an option: `label disks -l a=b c=d`.
            options, unknown = self.parse_known_intermixed_args(words)
        else:
            options, unknown = self.parse_known_args(words)
        if unknown:
            self._refuse(unknown[0].partition("=")[0])
        return options

    def _check_options(self, words: Sequence[str]) -> None:
        """Refuse an unknown option before argparse takes its value for an argument."""
        for word in words:
            if word == "--":
                return
            name = word.partition("=")[0]
            if word.startswith("--") and name not in self._option_string_actions:
                self._refuse(name)

    def error(self, message: str) -> NoReturn:
        """Raise InvalidInput; argparse calls this for everything it finds."""
        raise InvalidInput(message, hint=self._help())

    def _refuse(self, word: str) -> NoReturn:
        if not word.startswith("-"):
            raise InvalidInput(f"unexpected argument {word!r}", hint=self._help())
        known = list(self._option_string_actions)
        meant = _ELSEWHERE.get(word)
        hint = f"did you mean {meant!r}?" if meant in known else None
        if hint is None and word.startswith("--"):
            hint = closest(word, [name for name in known if name.startswith("--")])
        raise InvalidInput(f"no option {word!r}", hint=hint or self._help())

    def _help(self) -> str:
        return f"`{self.prog} --help` tells more"
