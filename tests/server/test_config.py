"""The server's configuration: where values come from, and that no typo is a default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from miren.base.errors import InvalidInput
from miren.server.config import Config, load


@pytest.fixture(autouse=True)
def _a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in list(os.environ):
        if name.startswith(("XDG_", "MIREN_")):
            monkeypatch.delenv(name)


def config(
    text: str, tmp_path: Path, *, env: Mapping[str, str] | None = None, **flags: str
) -> Config:
    path = tmp_path / "server.toml"
    path.write_text(text)
    dotted = {name.replace("__", "."): value for name, value in flags.items()}
    return load(path, environment=env or {}, flags=dotted)


def problems(text: str, tmp_path: Path, env: Mapping[str, str] | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        config(text, tmp_path, env=env)
    return caught.value.message


def test_without_anything_there_are_defaults(tmp_path: Path) -> None:
    found = load(environment={})
    state = tmp_path / "home/.local/state/miren"
    assert found.server.state_dir == state
    assert found.server.run_dir == state / "run"
    assert found.socket == state / "run/miren.sock"
    assert (found.store.backend, found.store.durability) == (None, "full")
    assert (found.runtime.adapter, found.runtime.default_class) == ("containerd", "runsc")
    assert found.server.node_name


def test_root_has_the_folders_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = load(environment={"MIREN_CONFIG": "/dev/null"})
    assert found.server.state_dir == Path("/var/lib/miren")
    assert found.socket == Path("/run/miren/miren.sock")


def test_the_folders_of_the_desktop_standard_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    (tmp_path / "XDG_CONFIG_HOME/miren").mkdir(parents=True)
    (tmp_path / "XDG_CONFIG_HOME/miren/server.toml").write_text("[log]\nlevel = 'debug'\n")
    found = load(environment={})
    assert found.server.state_dir == tmp_path / "XDG_STATE_HOME/miren"
    assert found.server.run_dir == tmp_path / "XDG_RUNTIME_DIR/miren"
    assert found.log.level == "debug"


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    text = "[log]\nlevel = 'debug'\nformat = 'json'\n[server]\nnode_name = 'file'\n"
    env = {"MIREN_LOG_LEVEL": "error", "MIREN_SERVER_NODE_NAME": "env"}
    found = config(text, tmp_path, env=env, server__node_name="flag")
    assert found.log.format == "json"
    assert found.log.level == "error"
    assert found.server.node_name == "flag"


def test_paths_are_absolute_and_know_home(tmp_path: Path) -> None:
    text = "[server]\nstate_dir = '~/state'\nrun_dir = 'run'\n"
    found = config(text, tmp_path)
    assert found.server.state_dir == tmp_path / "home/state"
    assert found.server.run_dir == Path("run").absolute()


def test_every_typo_is_found_at_once_with_what_was_meant(tmp_path: Path) -> None:
    text = (
        "[sever]\n[server]\nstate_dri = '/x'\n[log]\nlevel = 'debg'\n[store]\nbackend = 5\n"
        "[runtime]\nadapter = 'process'\n"
    )
    told = problems(text, tmp_path, {"MIREN_LOG_FROMAT": "json", "MIREN_RUNTIME_ADAPTER": "x"})
    assert "unknown section [sever]" in told
    assert "did you mean 'server'?" in told
    assert "server.state_dri: unknown key" in told
    assert "did you mean 'state_dir'?" in told
    assert "log.level: must be one of debug, info, warning, error, not 'debg'" in told
    assert "did you mean 'debug'?" in told
    assert "store.backend: must be one of sqlite, memory, etcd, not 5" in told
    assert "log.fromat: unknown key (in MIREN_LOG_FROMAT)" in told
    assert "runtime.adapter: must be one of containerd, process" in told
    assert "MIREN_RUNTIME_ADAPTER" in told
    assert str(tmp_path / "server.toml") in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("server = 5\n", "server: must be a section"),
        ("[server]\nstate_dir = ''\n", "server.state_dir: must be a path"),
        ("[server]\nnode_name = 7\n", "server.node_name: must be a text"),
        ("[server\n", "server.toml"),
        ("[secrets]\nkey_command = []\n", "secrets.key_command: must be a list of texts"),
        ("[secrets]\nkey_command = ['a', 5]\n", "must be a list of texts"),
        ("[secrets]\nkey_file = ''\n", "secrets.key_file: must be a path"),
        ("[secrets]\nkey_file = 'a'\nkey_command = ['b']\n", "excludes secrets.key_command"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, told: str) -> None:
    assert told in problems(text, tmp_path)


def test_the_servers_address_for_clients_is_no_key(tmp_path: Path) -> None:
    config("", tmp_path, env={"MIREN_SERVER": "unix:///x", "MIREN_DEBUG": "1"})


def test_a_named_file_must_be_there_and_be_text(tmp_path: Path) -> None:
    for named in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(InvalidInput, match=str(named)):
            load(named, environment={})
        with pytest.raises(InvalidInput, match=str(named)):
            load(environment={"MIREN_CONFIG": str(named)})
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match=r"binary\.toml"):
        load(tmp_path / "binary.toml", environment={})


def test_the_keys_come_from_a_file_or_from_a_command(tmp_path: Path) -> None:
    found = config("[secrets]\nkey_file = '~/keys'\n", tmp_path).secrets
    assert (found.key_file, found.key_command) == (tmp_path / "home/keys", ())
    found = config("[secrets]\nkey_command = ['vault', 'read a']\n", tmp_path).secrets
    assert (found.key_file, found.key_command) == (None, ("vault", "read a"))
    env = {"MIREN_SECRETS_KEY_COMMAND": "vault 'read a'"}
    assert config("", tmp_path, env=env).secrets.key_command == ("vault", "read a")
    assert "must be a list of texts" in problems("", tmp_path, {"MIREN_SECRETS_KEY_COMMAND": "'"})
