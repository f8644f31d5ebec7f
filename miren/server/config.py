"""The server's configuration: flags over environment over file over defaults.

Unknown sections and keys are errors; a typo never turns into a default.
"""

from __future__ import annotations

import os
import re
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from miren.base.errors import InvalidInput, Problem
from miren.base.suggestions import closest

__all__ = ["Config", "LogConfig", "RuntimeConfig", "ServerConfig", "default_config_path", "load"]


def _is_root() -> bool:
    return os.geteuid() == 0


def _xdg(name: str, fallback: Path) -> Path:
    return Path(os.environ.get(name) or fallback)


def _state_dir() -> Path:
    if _is_root():
        return Path("/var/lib/miren")
    return _xdg("XDG_STATE_HOME", Path.home() / ".local/state") / "miren"


def _run_dir() -> Path:
    if _is_root():
        return Path("/run/miren")
    if "XDG_RUNTIME_DIR" in os.environ:
        return Path(os.environ["XDG_RUNTIME_DIR"]) / "miren"
    return _state_dir() / "run"


def _node_name() -> str:
    """Return the host's name as a valid node name."""
    name = re.sub(r"[^a-z0-9.-]+", "-", socket.gethostname().lower()).strip("-.")
    return name or "node"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the server keeps things, and what its node is called."""

    state_dir: Path = field(default_factory=_state_dir)
    run_dir: Path = field(default_factory=_run_dir)
    node_name: str = field(default_factory=_node_name)


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """What keeps the entities."""

    backend: Literal["sqlite", "memory"] = "sqlite"
    durability: Literal["full", "relaxed"] = "full"


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """What runs sandboxes. `process` isolates nothing and needs neither root nor containerd."""

    adapter: Literal["containerd", "process"] = "containerd"
    default_class: str = "runsc"


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The sandboxes' subnet in CIDR form; empty chooses one that is clear of the host's."""

    subnet: str = ""


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What the server logs."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


@dataclass(frozen=True, slots=True)
class Config:
    """All of it, by section."""

    server: ServerConfig = field(default_factory=ServerConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    log: LogConfig = field(default_factory=LogConfig)

    @property
    def socket(self) -> Path:
        """Where the API listens."""
        return self.server.run_dir / "miren.sock"


def default_config_path() -> Path:
    """Return where the configuration file is looked for."""
    if _is_root():
        return Path("/etc/miren/server.toml")
    return _xdg("XDG_CONFIG_HOME", Path.home() / ".config") / "miren/server.toml"


def load(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Config:
    """Return the configuration; `flags` are `section.key`. A named file must exist.

    Raises InvalidInput with everything that is wrong with it.
    """
    env = os.environ if environment is None else environment
    named = path or (Path(env["MIREN_CONFIG"]) if "MIREN_CONFIG" in env else None)
    given = _read(named or default_config_path(), required=named is not None)
    sections = {one.name: one.default_factory for one in fields(Config)}
    problems = [
        Problem(f"unknown section [{name}]", (), hint=closest(name, sections))
        for name in given
        if name not in sections
    ]
    made: dict[str, Any] = {}
    for name, factory in sections.items():
        kind: Any = factory
        values = _values(name, kind, given.get(name, {}), env, flags or {}, problems)
        made[name] = kind(**values)
    if problems:
        raise InvalidInput(problems)
    return Config(**made)


def _read(path: Path, *, required: bool) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        if required:
            raise InvalidInput(f"no configuration file {path}") from None
        return {}
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{path}: {error}") from None


def _values(
    section: str,
    kind: type[Any],
    given: object,
    env: Mapping[str, str],
    flags: Mapping[str, str],
    problems: list[Problem],
) -> dict[str, Any]:
    assert is_dataclass(kind)
    hints = get_type_hints(kind)
    if not isinstance(given, Mapping):
        problems.append(Problem("must be a section", (section,)))
        return {}
    raw: dict[str, Any] = dict(given)
    for name in hints:
        variable = f"MIREN_{section}_{name}".upper()
        if variable in env:
            raw[name] = env[variable]
        if f"{section}.{name}" in flags:
            raw[name] = flags[f"{section}.{name}"]
    values = {}
    for name, value in raw.items():
        if name not in hints:
            problems.append(Problem("unknown key", (section, name), hint=closest(name, hints)))
        elif (found := _convert(hints[name], value)) is not None:
            values[name] = found
        else:
            wanted = get_args(hints[name])
            words = f"one of {', '.join(wanted)}" if wanted else "a text"
            problems.append(Problem(f"must be {words}, not {value!r}", (section, name)))
    return values


def _convert(hint: Any, value: object) -> Any:
    """Return `value` as the hint says, or None when it cannot be."""
    choices = get_args(hint)
    if not isinstance(value, str) or (choices and value not in choices):
        return None
    return Path(value).absolute() if hint is Path else value
