"""Where the server's keys come from: a file that only it can read, or a command.

A key file holds one key a line, the primary one first. Without any configuration it is
`secrets.keys` in the state folder, made at the first start. A key command prints the same lines;
it is how keys are kept outside of this host, and then only its owner can add or drop keys.
"""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from miren.base.errors import DeadlineExceeded, InvalidInput, NotFound, Refused, RuntimeFailure
from miren.entities.keyring import Key, Keyring
from miren.server.config import Config

__all__ = ["KeyCommand", "KeyFile", "KeySource", "key_source"]

_LARGEST = 64 * 1024  # bytes of a key file
_COMMAND_TIMEOUT = 30.0  # seconds: it may ask a service on the network


class KeySource(Protocol):
    """Where keys are kept."""

    async def load(self) -> Keyring:
        """Return the keys as they are kept now."""
        ...

    async def save(self, keyring: Keyring) -> None:
        """Keep these keys instead; raise Refused where that is not for the server to do."""
        ...


def key_source(config: Config) -> KeySource:
    """Return where this server's keys are kept."""
    if config.secrets.key_command:
        return KeyCommand(config.secrets.key_command)
    if config.secrets.key_file is not None:
        return KeyFile(config.secrets.key_file)
    return KeyFile(config.server.state_dir / "secrets.keys", is_ours=True)


class KeyFile:
    """A file of keys. One that `is_ours` is made when it is not there."""

    def __init__(self, path: Path, *, is_ours: bool = False) -> None:
        self._path = path
        self._is_ours = is_ours

    async def load(self) -> Keyring:
        """Return the keys in the file.

        Raises NotFound, Refused for a file that others can read, InvalidInput for what are no
        keys. No error quotes what the file says.
        """
        return await asyncio.to_thread(self._load)

    async def save(self, keyring: Keyring) -> None:
        """Replace the file in one step; after a crash it is the old one or the new one."""
        await asyncio.to_thread(self._write, keyring, replaces=True)

    def _load(self) -> Keyring:
        try:
            text = self._read()
        except FileNotFoundError:
            if not self._is_ours:
                raise NotFound(
                    f"there is no key file {self._path}",
                    hint=f"(umask 077; head -c 32 /dev/urandom | base64 > {self._path})",
                ) from None
            self._write(Keyring((Key.generate(),)), replaces=False)
            text = self._read()
        except OSError as error:
            raise Refused(f"cannot read the key file {self._path}: {error.strerror}") from error
        try:
            return Keyring.parse(text)
        except InvalidInput as error:
            raise InvalidInput(
                f"the key file {self._path}: {error.message}", hint=error.hint
            ) from None

    def _read(self) -> str:
        # Opened without waiting: a named pipe would keep the server from starting.
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._refuse_foreign(os.fstat(descriptor))
            return os.read(descriptor, _LARGEST).decode("ascii", errors="replace")
        finally:
            os.close(descriptor)

    def _refuse_foreign(self, found: os.stat_result) -> None:
        """Raise Refused unless only the server and root can read the file."""
        if not stat.S_ISREG(found.st_mode):
            raise Refused(f"the key file {self._path} is not a file")
        if found.st_uid not in (0, os.geteuid()):
            raise Refused(
                f"the key file {self._path} belongs to user {found.st_uid}",
                hint=f"chown {os.geteuid()} {self._path}",
            )
        if found.st_mode & 0o077:
            raise Refused(
                f"the key file {self._path} can be read by others than its owner "
                f"(mode {stat.S_IMODE(found.st_mode):04o})",
                hint=f"chmod 600 {self._path}",
            )

    def _write(self, keyring: Keyring, *, replaces: bool) -> None:
        folder = self._path.parent
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=f".{self._path.name}.")
        new = Path(name)
        try:
            with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123  # mkstemp: 0600, O_EXCL
                file.write(keyring.text)
                file.flush()
                os.fsync(file.fileno())
            if replaces:
                new.replace(self._path)
            else:
                _link(new, self._path)
            _sync(folder)
        finally:
            new.unlink(missing_ok=True)


class KeyCommand:
    """A program that prints keys, given as an argument vector."""

    def __init__(self, words: Sequence[str], *, timeout: float = _COMMAND_TIMEOUT) -> None:
        self._words = tuple(words)
        self._timeout = timeout

    async def load(self) -> Keyring:
        """Return the keys that the command prints.

        Raises NotFound, RuntimeFailure with the end of what it says on stderr when it fails,
        DeadlineExceeded when it takes too long, InvalidInput for what are no keys.
        """
        program = self._words[0]
        try:
            process = await asyncio.create_subprocess_exec(
                *self._words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise NotFound(f"the key command {program}: {error.strerror}") from error
        try:
            async with asyncio.timeout(self._timeout):
                out, said = await process.communicate()
        except TimeoutError:
            raise DeadlineExceeded(
                f"the key command {program} did not end within {self._timeout:g} s"
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            last = said.decode(errors="replace").strip().rpartition("\n")[2][:200]
            raise RuntimeFailure(
                f"the key command {program} ended with {process.returncode}: {last or 'silently'}"
            )
        try:
            return Keyring.parse(out.decode("ascii", errors="replace"))
        except InvalidInput as error:
            raise InvalidInput(f"the key command {program}: {error.message}") from None

    async def save(self, keyring: Keyring) -> None:
        """Refuse: what the command prints is not the server's to change."""
        raise Refused(
            f"the keys come from the command {self._words[0]}",
            hint="change what it prints, then rotate: the server reads it again",
        )


def _link(new: Path, path: Path) -> None:
    """Give the file its name unless somebody else has just made one, which then counts."""
    try:
        path.hardlink_to(new)
    except FileExistsError:
        return


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
