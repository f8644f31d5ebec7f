"""Find out whom an image means by `User`: numbers, or names in its own /etc/passwd.

The files are read from the snapshot's layers on the host, without mounting anything and
without following links, which could lead out of the image.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from miren.base.errors import InvalidInput
from miren.runtime.containerd.content import FileSystem
from miren.runtime.containerd.spec import User

__all__ = ["find_user", "image_layers", "needs_accounts", "read_account_file"]


def needs_accounts(user: str) -> bool:
    """Return whether `user` can only be understood with the image's account files."""
    return not all(part.isdigit() for part in user.split(":")) if user else False


def find_user(user: str, passwd: str, group: str) -> User:
    """Return whom `user` (`name`, `1000`, `name:group`, `1000:1000`) means.

    `passwd` and `group` are the image's account files, "" for none. Raises InvalidInput for a
    name that is not in them.
    """
    if not user:
        return User()
    name, _, group_name = user.partition(":")
    account = _find(_rows(passwd), name)
    if account is None and not name.isdigit():
        raise InvalidInput(f"the image wants to run as {name!r}, who is not in its /etc/passwd")
    uid = int(account[2]) if account else int(name)
    groups = list(_rows(group))
    if group_name:
        return User(uid, _gid(groups, group_name))
    if account is None:
        return User(uid)
    member_of = tuple(int(row[2]) for row in groups if account[0] in row[3].split(","))
    return User(uid, int(account[3]), member_of)


def _gid(groups: Sequence[Sequence[str]], name: str) -> int:
    found = _find(groups, name)
    if found is not None:
        return int(found[2])
    if name.isdigit():
        return int(name)
    raise InvalidInput(f"the image wants the group {name!r}, which is not in its /etc/group")


def _rows(text: str) -> Iterable[Sequence[str]]:
    for line in text.splitlines():
        parts = line.split(":")
        if len(parts) >= 4 and parts[2].isdigit():
            yield parts


def _find(rows: Iterable[Sequence[str]], name: str) -> Sequence[str] | None:
    return next((row for row in rows if name in (row[0], row[2])), None)


def image_layers(file_systems: Iterable[FileSystem]) -> Sequence[Path]:
    """Return the host folders that a snapshot is made of, the topmost first."""
    layers: list[Path] = []
    for each in file_systems:
        if each.type == "bind":
            layers.append(Path(each.source))
        for option in each.options:
            name, _, value = option.partition("=")
            if name == "upperdir":
                layers.insert(0, Path(value))
            elif name == "lowerdir":
                layers.extend(Path(part) for part in value.split(":"))
    return layers


def read_account_file(layers: Iterable[Path], name: str) -> str:
    """Return the text of /etc/<name> in the topmost layer that has it, "" when none has."""
    for layer in layers:
        try:
            folder = os.open(layer / "etc", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # no such folder in this layer
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except FileNotFoundError:
            continue
        except OSError:
            return ""  # a link, or deleted in this layer
        finally:
            os.close(folder)
        with os.fdopen(file, errors="replace") as text:
            return text.read(1 << 20) if stat.S_ISREG(os.fstat(file).st_mode) else ""
    return ""
