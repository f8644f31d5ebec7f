"""A server's secrets: nothing of them in its files and logs, through every write and rotation."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from miren.entities.secrets import MASK
from tests.entities.vaults import make_keyring
from tests.servers import Server, run_miren, running_server, wait_until

SERVER = "miren.server.v1.Server"
SECRETS = [f"hunter{number}-s3cret" for number in range(6)]


def secret(name: str, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "miren.dev/v1alpha1",
        "kind": "Secret",
        "metadata": {"name": name},
        "spec": {"data": data},
    }


def revealed(server: Server, name: str) -> dict[str, str]:
    found = server.ok("Get", kind="secret", name=name, reveal=True)
    data: dict[str, str] = found["entity"]["spec"]["data"]
    return data


def files_of(server: Server) -> dict[Path, bytes]:
    state = server.base / "state"
    files = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    return {**files, server.base / "server.log": server.log.encode()}


def assert_sealed(server: Server) -> None:
    for file, content in files_of(server).items():
        assert b"s3cret" not in content, file


def rotate(server: Server, **message: Any) -> dict[str, Any]:
    answer = server.call("RotateKey", service=SERVER, **message)
    assert answer.status == 200, answer.body
    return answer.json


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server("--log-level", "debug") as server:
        yield server


def test_no_file_and_no_log_of_the_server_holds_a_secret(server: Server) -> None:
    made = server.ok("Create", entity=secret("a", one=SECRETS[0]))
    assert made["entity"]["spec"]["data"] == {"one": MASK}
    assert_sealed(server)
    server.ok("Apply", document=secret("a", one=SECRETS[1], two=SECRETS[2]), force=True)
    patch = {"spec": {"data": {"three": SECRETS[3]}}}
    server.ok("Patch", kind="secret", name="a", patch=patch)
    assert revealed(server, "a") == {"one": SECRETS[1], "two": SECRETS[2], "three": SECRETS[3]}
    rotate(server)
    server.ok("Delete", kind="secret", name="a")
    store = [content for path, content in files_of(server).items() if "store.db" in path.name]
    assert any(b"$sealed" in content for content in store)
    assert_sealed(server)


def test_refusals_hold_no_secret(server: Server) -> None:
    for document in (
        secret("b", one=MASK, two=SECRETS[0]),
        {**secret("b"), "spec": {"data": {"one": [SECRETS[0]]}}},
        {**secret("b"), "spec": {"data": SECRETS[0]}},
        {**secret("b"), "spec": {"dta": {"one": SECRETS[0]}}},
    ):
        for answer in (
            server.call("Create", entity=document),
            server.call("Apply", document=document),
        ):
            assert answer.status == 400, answer.body
            assert b"s3cret" not in answer.body
    assert_sealed(server)


def test_a_watch_tells_that_a_secret_changed_and_not_to_what(server: Server) -> None:
    server.ok("Create", entity=secret("watched", one=SECRETS[0]))
    with server.stream("Watch", kind="secret", name="watched") as messages:
        told = messages.until("BOOKMARK")
        server.ok("Apply", document=secret("watched", one=SECRETS[1]), force=True)
        told += messages.until("MODIFIED")
    assert [each["type"] for each in told if each["type"] != "BOOKMARK"] == ["ADDED", "MODIFIED"]
    assert told[-1]["entity"]["spec"]["data"] == {"one": MASK}
    assert "s3cret" not in json.dumps(told)


def test_keys_are_rotated_in_the_background_and_dropped_when_unused(server: Server) -> None:
    server.ok("Create", entity=secret("kept", one=SECRETS[4]))
    before = server.ok("Get", kind="secret", name="kept")["entity"]["metadata"]
    first = rotate(server)
    assert first["primary"] not in first["older"]

    def is_dropped() -> dict[str, Any] | None:
        answer = server.call("RotateKey", service=SERVER, drop=True)
        assert answer.status == 200 or b"hold secrets that are under" in answer.body
        return answer.json if answer.status == 200 else None

    dropped = wait_until(is_dropped, told="the older keys are not dropped")
    assert dropped == {"primary": first["primary"], "older": []}
    assert len((server.base / "state/secrets.keys").read_text().splitlines()) == 1
    after = server.ok("Get", kind="secret", name="kept")["entity"]["metadata"]
    assert after["generation"] == before["generation"]
    assert after["resourceVersion"] != before["resourceVersion"]
    assert revealed(server, "kept") == {"one": SECRETS[4]}
    assert "resealed" in server.log


def test_the_key_file_is_the_servers_own(server: Server) -> None:
    path = server.base / "state/secrets.keys"
    assert path.stat().st_mode & 0o777 == 0o600
    key = path.read_text().split()[0]
    assert key not in server.log


@contextmanager
def configured(tmp_path: Path, text: str) -> Iterator[Server]:
    config = tmp_path / "server.toml"
    config.write_text(text)
    with running_server("--config", str(config)) as server:
        yield server


def test_keys_can_come_from_a_command_that_rotates_them(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(make_keyring(1).text)
    script = "import sys; print(open(sys.argv[1]).read())"
    words = [sys.executable, "-c", script, str(keys)]
    with configured(tmp_path, f"[secrets]\nkey_command = {json.dumps(words)}\n") as server:
        server.ok("Create", entity=secret("a", one=SECRETS[0]))
        assert not (server.base / "state/secrets.keys").exists()
        same = server.call("RotateKey", service=SERVER)
        assert (same.status, b"come from the command" in same.body) == (400, True)
        keys.write_text(make_keyring(2, 1).text)
        assert rotate(server)["primary"] == make_keyring(2).primary.id
        assert revealed(server, "a") == {"one": SECRETS[0]}
        assert_sealed(server)


def test_a_server_does_not_start_with_a_key_file_that_others_can_read(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(make_keyring(1).text)
    keys.chmod(0o644)
    config = tmp_path / "server.toml"
    config.write_text(f"[secrets]\nkey_file = {json.dumps(str(keys))}\n")
    folders = ["--state-dir", f"{tmp_path}/state", "--run-dir", f"{tmp_path}/run"]
    done = run_miren("server", "--config", config, *folders, "--runtime", "process")
    assert done.code != 0
    assert "can be read by others" in done.err
    assert f"chmod 600 {keys}" in done.err
