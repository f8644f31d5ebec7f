"""A person's editor on a text, and the comments above the text that tell them about it.

The comments are ours: written anew every time the text is shown, and taken off when it comes
back, so that a text that is shown again is the person's own, letter by letter.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from miren.base.errors import InvalidInput, MirenError

__all__ = ["Draft", "draft", "place_problems"]

_HELP = (
    "Change the entity below and save it. These comments at the top are left out.",
    "An empty or unchanged file changes nothing.",
)


class Draft:
    """A text in a file that only its owner can read. `text` is what it was when last seen."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self._began_as = text

    @property
    def is_changed(self) -> bool:
        """Whether the person has written something that is worth keeping."""
        return bool(self.text.strip()) and self.text != self._began_as

    def look_again(self) -> None:
        """Take over what was saved in the file while nobody looked, as far as it can be read."""
        with suppress(OSError, UnicodeDecodeError):
            self.text = _without_comments(self.path.read_text(encoding="utf-8"))

    def edit(self, comments: Iterable[str] = ()) -> bool:
        """Show the text under comments in the editor; return whether it came back different.

        Raises MirenError when there is no editor, or it says that it failed.
        """
        before = self.text
        self.path.write_text(_under(comments) + self.text, encoding="utf-8")
        _run_editor(self.path)
        try:
            self.text = _without_comments(self.path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{self.path} is not UTF-8: {error.reason}") from error
        return self.text != before


@contextmanager
def draft(text: str, name: str) -> Iterator[Draft]:
    """Yield a text to edit. Its file is removed, unless what was written in it would be lost.

    `name` is part of the file's name. When the body raises and the text was changed, the file
    stays, and the error's hint says where.
    """
    handle, path = tempfile.mkstemp(prefix=f"miren-{name}-", suffix=".yaml")
    os.close(handle)
    work = Draft(Path(path), text)
    try:
        yield work
    except BaseException as error:
        work.look_again()
        if not work.is_changed:
            work.path.unlink(missing_ok=True)
        elif isinstance(error, MirenError):
            kept = f"what you wrote is in {work.path}"
            error.hint = f"{error.hint}; {kept}" if error.hint else kept
        else:
            print(f"what you wrote is in {work.path}", file=sys.stderr)
        raise
    work.path.unlink(missing_ok=True)


def place_problems(error: InvalidInput) -> list[str]:
    """Return an error's problems as comments, with the lines they have below those comments.

    Positions in the error are in the text without comments.
    """
    told = [part for problem in error.problems for part in _parts(problem.message, problem.hint)]
    shift = len(_under(told).splitlines())
    lines: list[str] = []
    for problem in error.problems:
        first, *more = _parts(problem.message, problem.hint)
        at = f"line {problem.position.line + shift}: " if problem.position else ""
        path = f" (at {problem.dotted()})" if problem.path else ""
        lines += [f"{at}{first}{path}", *more]
    return lines


def _parts(message: str, hint: str | None) -> list[str]:
    return [*message.splitlines(), *([f"  help: {hint}"] if hint else [])]


def _under(comments: Iterable[str]) -> str:
    told = list(comments)
    lines = [*_HELP, *(["", *told] if told else []), ""]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def _without_comments(text: str) -> str:
    lines = text.splitlines(keepends=True)
    while lines and lines[0].startswith("#"):
        del lines[0]
    return "".join(lines)


@contextmanager
def _left_to_editors() -> Iterator[None]:
    """Let Ctrl-C be for the editor alone, where it need not mean the end."""
    # Not SIG_IGN, which an editor would inherit.
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _run_editor(path: Path) -> None:
    names = ("MIREN_EDITOR", "VISUAL", "EDITOR")
    command = next((os.environ[name] for name in names if os.environ.get(name)), "vi")
    try:
        words = shlex.split(command)
        with _left_to_editors():
            done = subprocess.run([*words, str(path)], check=False)
    except (ValueError, FileNotFoundError, PermissionError) as error:
        raise MirenError(f"cannot run the editor {command!r}", hint="set $EDITOR") from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise MirenError(f"the editor {command!r} was ended by {name}")
    if done.returncode != 0:
        raise MirenError(f"the editor {command!r} ended with {done.returncode}")
