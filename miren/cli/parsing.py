"""Command line options, with errors in our words: what is wrong, and what was probably meant."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

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
        lines = (self.usage or "").splitlines()
        usage = f"`{lines[0]}`; " if lines else ""
        raise InvalidInput(message, hint=usage + self._help())

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a value that is none of the choices; argparse calls this."""
        if action.choices is None or value in action.choices:
            return
        meant = closest(str(value), map(str, action.choices))
        raise InvalidInput(
            f"{_name(action)} is {_choices(action)}, not {value!r}", hint=meant or self._help()
        )

    def _match_argument(self, action: argparse.Action, pattern: str) -> int:
        """Say which values an option could have that has none; argparse calls this."""
        try:
            found: int = super()._match_argument(action, pattern)
        except argparse.ArgumentError:
            if not action.option_strings or action.nargs is not None:
                raise
            value = _choices(action) if action.choices else str(action.metavar or "")
            raise InvalidInput(
                f"{_name(action)} needs a value: {value}".removesuffix(": "), hint=self._help()
            ) from None
        return found

    def _refuse(self, word: str) -> NoReturn:
        if not word.startswith("-"):
            raise InvalidInput(f"unexpected argument {word!r}", hint=self._help())
        known = list(self._option_string_actions)
        meant = _ELSEWHERE.get(word)
        hint = f"did you mean {meant!r}?" if meant in known else None
        if hint is None and word.startswith("--"):
            # Without their dashes, which all of them have in common.
            names = [name.removeprefix("--") for name in known if name.startswith("--")]
            hint = closest(word.removeprefix("--"), names, shown="--{}")
        raise InvalidInput(f"no option {word!r}", hint=hint or self._help())

    def _help(self) -> str:
        return f"`{self.prog} --help` tells more"


def _name(action: argparse.Action) -> str:
    return "/".join(action.option_strings) or str(action.metavar or action.dest)


def _choices(action: argparse.Action) -> str:
    *others, last = [str(choice) for choice in action.choices or ()]
    return f"{', '.join(others)} or {last}" if others else last
