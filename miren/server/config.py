"""The server's configuration: flags over environment over file over defaults.

Unknown sections and keys are errors; a typo never turns into a default.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, NewType, get_args, get_origin, get_type_hints

from miren.base.errors import InvalidInput, Problem
from miren.base.suggestions import closest

__all__ = [
    "Config",
    "Endpoints",
    "LogConfig",
    "RuntimeConfig",
    "SecretsConfig",
    "ServerConfig",
    "StoreConfig",
    "default_config_path",
    "load",
]


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


#: Addresses of one cluster; a text holds them with commas between.
Endpoints = NewType("Endpoints", tuple[str, ...])


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """What keeps the entities. Without a backend it is what the state folder has, else SQLite.

    With endpoints it is the etcd there, of which a store has the keys below `etcd_prefix`; backend
    etcd without endpoints is an etcd that the server runs itself.
    """

    backend: Literal["sqlite", "memory", "etcd"] | None = None
    durability: Literal["full", "relaxed"] = "full"
    etcd_endpoints: Endpoints = Endpoints(())
    etcd_prefix: str = "/miren"
    etcd_ca_file: Path | None = None
    etcd_cert_file: Path | None = None
    etcd_key_file: Path | None = None
    etcd_user: str = ""
    etcd_password_file: Path | None = None


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
class SecretsConfig:
    """Where the keys for secrets come from: at most one of them.

    A file of keys, or the argument vector of a command that prints them; without either a file
    in the state folder. In the environment the vector is written as for a shell.
    """

    key_file: Path | None = None
    key_command: tuple[str, ...] = ()


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
    secrets: SecretsConfig = field(default_factory=SecretsConfig)
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
    file = named or default_config_path()
    given = _read(file, required=named is not None)
    sections = {one.name: one.default_factory for one in fields(Config)}
    problems = [
        Problem(f"unknown section [{name}] in {file}", hint=closest(name, sections))
        for name in given
        if name not in sections
    ]
    made: dict[str, Any] = {}
    for name, factory in sections.items():
        kind: Any = factory
        found = _from_file(name, given.get(name, {}), str(file), problems)
        found |= _from_environment(name, env)
        found |= _from_flags(name, flags or {})
        made[name] = kind(**_values(name, kind, found, problems))
    if not problems:
        problems += _contradictions(made["secrets"], made["store"])
    if problems:
        raise InvalidInput(problems)
    return Config(**made)


def _contradictions(secrets: SecretsConfig, store: StoreConfig) -> list[Problem]:
    found = []
    if secrets.key_file and secrets.key_command:
        found.append(Problem("excludes secrets.key_command", ("secrets", "key_file")))
    if bool(store.etcd_cert_file) != bool(store.etcd_key_file):
        found.append(Problem("goes with store.etcd_key_file", ("store", "etcd_cert_file")))
    if bool(store.etcd_user) != bool(store.etcd_password_file):
        found.append(Problem("goes with store.etcd_password_file", ("store", "etcd_user")))
    if not store.etcd_prefix.startswith("/"):
        found.append(Problem("must begin with a slash", ("store", "etcd_prefix")))
    return found


@dataclass(frozen=True, slots=True)
class _Given:
    """A value and where it was given, for people."""

    value: object
    source: str


def _read(path: Path, *, required: bool) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        if required:
            raise InvalidInput(f"no configuration file {path}") from None
        return {}
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # not TOML, or not even UTF-8
        raise InvalidInput(f"{path}: {error}") from None


def _from_file(
    section: str, given: object, file: str, problems: list[Problem]
) -> dict[str, _Given]:
    if not isinstance(given, Mapping):
        problems.append(Problem(f"must be a section (in {file})", (section,)))
        return {}
    return {name: _Given(value, file) for name, value in given.items()}


def _from_environment(section: str, env: Mapping[str, str]) -> dict[str, _Given]:
    prefix = f"MIREN_{section}_".upper()
    return {
        variable.removeprefix(prefix).lower(): _Given(value, variable)
        for variable, value in env.items()
        if variable.startswith(prefix)
    }


def _from_flags(section: str, flags: Mapping[str, str]) -> dict[str, _Given]:
    return {
        name.removeprefix(f"{section}."): _Given(value, "the command line")
        for name, value in flags.items()
        if name.startswith(f"{section}.")
    }


def _values(
    section: str, kind: type[Any], found: Mapping[str, _Given], problems: list[Problem]
) -> dict[str, Any]:
    """Return the values that `kind` takes; say what is wrong with the others."""
    assert is_dataclass(kind)
    hints = get_type_hints(kind)
    values = {}
    for name, given in found.items():
        path = (section, name)
        if name not in hints:
            hint = closest(name, hints)
            problems.append(Problem(f"unknown key (in {given.source})", path, hint=hint))
        elif (value := _convert(hints[name], given.value)) is not None:
            values[name] = value
        else:
            wanted = _words(hints[name])
            message = f"must be {wanted}, not {given.value!r} (in {given.source})"
            choices = _choices(hints[name])
            problems.append(Problem(message, path, hint=closest(str(given.value), choices)))
    return values


def _choices(hint: Any) -> tuple[str, ...]:
    for each in (hint, *get_args(hint)):  # a choice, or one that may be left out
        if get_origin(each) is Literal:
            return get_args(each)
    return ()


def _words(hint: Any) -> str:
    if choices := _choices(hint):
        return f"one of {', '.join(choices)}"
    if hint in (tuple[str, ...], Endpoints):
        return "a list of texts"
    return "a path" if hint in (Path, Path | None) else "a text"


def _convert(hint: Any, value: object) -> Any:
    """Return `value` as the hint says, or None when it cannot be."""
    if hint == tuple[str, ...]:
        return _vector(value)
    if hint is Endpoints:
        return _vector(value.replace(",", " ") if isinstance(value, str) else value)
    choices = _choices(hint)
    if not isinstance(value, str) or (choices and value not in choices):
        return None
    if hint in (Path, Path | None):
        # An empty path would be the working directory, which nobody means.
        return Path(value).expanduser().absolute() if value else None
    return value


def _vector(value: object) -> tuple[str, ...] | None:
    """Return an argument vector; a text, as the environment gives it, is split as a shell does."""
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError:
            return None
    is_vector = isinstance(value, list) and all(isinstance(word, str) for word in value)
    return tuple(value) if is_vector and value else None  # type: ignore[arg-type]  # checked
