"""Where the server's keys come from, and what is refused there."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from miren.base.errors import (
    DeadlineExceeded,
    InvalidInput,
    MirenError,
    NotFound,
    Refused,
    RuntimeFailure,
)
from miren.entities.keyring import Key, Keyring
from miren.server.config import Config, SecretsConfig, ServerConfig
from miren.server.keys import KeyCommand, KeyFile, key_source
from tests.entities.vaults import make_keyring


def source_of(tmp_path: Path, **secrets: object) -> object:
    config = SecretsConfig(**secrets)  # type: ignore[arg-type]  # what each test names
    return key_source(Config(server=ServerConfig(state_dir=tmp_path), secrets=config))


async def test_without_configuration_a_key_is_made_once_for_the_owner_only(
    tmp_path: Path,
) -> None:
    source = source_of(tmp_path)
    assert isinstance(source, KeyFile)
    first = await source.load()
    path = tmp_path / "secrets.keys"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (await source.load()).ids == first.ids
    assert [each.name for each in tmp_path.iterdir()] == ["secrets.keys"]


async def test_servers_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    found = await asyncio.gather(
        *(KeyFile(tmp_path / "keys", is_ours=True).load() for _ in range(8))
    )
    assert len({ring.ids for ring in found}) == 1


async def test_a_configured_file_must_be_there(tmp_path: Path) -> None:
    source = source_of(tmp_path, key_file=tmp_path / "mine")
    assert isinstance(source, KeyFile)
    with pytest.raises(NotFound) as caught:
        await source.load()
    assert "/dev/urandom" in (caught.value.hint or "")
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
async def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys"
    path.write_text(make_keyring().text)
    path.chmod(mode)
    with pytest.raises(Refused, match=f"mode {mode:04o}") as caught:
        await KeyFile(path).load()
    assert caught.value.hint == f"chmod 600 {path}"


async def test_a_file_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = KeyFile(tmp_path / "keys", is_ours=True)
    await file.load()
    if os.geteuid() == 0:
        os.chown(tmp_path / "keys", 4711, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(Refused, match="belongs to user"):
        await file.load()


async def test_what_is_no_key_file_is_refused_without_being_quoted(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.touch(0o600)
    for text, told in (("", "no key"), ("hunter2", "line 1"), ("\xff\xfe", "line 1")):
        path.write_text(text)
        with pytest.raises(InvalidInput, match=told) as caught:
            await KeyFile(path).load()
        assert str(path) in str(caught.value)
        assert "hunter2" not in str(caught.value)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(Refused):
            await KeyFile(path).load()


async def test_saving_replaces_the_file_whole(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys", is_ours=True)
    old = await file.load()
    new = old.with_primary(Key.generate())
    await file.save(new)
    assert (await file.load()).ids == new.ids == (new.primary.id, old.primary.id)
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 1


def printing(text: str, *, code: int = 0, stderr: str = "") -> KeyCommand:
    script = "import sys; print(sys.argv[1]); print(sys.argv[2], file=sys.stderr)"
    words = (sys.executable, "-c", f"{script}; sys.exit({code})", text, stderr)
    return KeyCommand(words)


async def test_a_command_prints_the_keys() -> None:
    ring = make_keyring(2, 1)
    assert (await printing(ring.text).load()).ids == ring.ids


@pytest.mark.parametrize(
    ("command", "error", "told"),
    [
        (
            printing("s3cret", code=3, stderr="a\nno token"),
            RuntimeFailure,
            "ended with 3: no token",
        ),
        (printing("s3cret"), InvalidInput, "line 1 is not a key"),
        (KeyCommand(("/nowhere/keys",)), NotFound, "/nowhere/keys"),
    ],
)
async def test_a_command_that_fails_says_how_and_not_what_it_printed(
    command: KeyCommand, error: type[MirenError], told: str
) -> None:
    with pytest.raises(error, match=told) as caught:
        await command.load()
    assert "s3cret" not in str(caught.value)


async def test_a_command_that_hangs_is_ended_in_time() -> None:
    words = (sys.executable, "-c", "import time; time.sleep(60)")
    start = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
        await KeyCommand(words, timeout=0.2).load()
    assert time.monotonic() - start < 30


async def test_the_keys_of_a_command_are_not_the_servers_to_change() -> None:
    source: Keyring = make_keyring()
    with pytest.raises(Refused):
        await KeyCommand(("keys",)).save(source)
