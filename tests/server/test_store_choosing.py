"""Which store a state folder has, and which one the configuration wants."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from miren.base.errors import InvalidInput, MirenError, Refused
from miren.server.config import Config, load
from miren.server.stores.choosing import Choice, choice_of, fresh, note, recorded
from miren.server.stores.locking import owning
from miren.server.stores.opening import etcd_store, tidy

SQLITE, OWN, CLUSTER = Choice("sqlite", "store.db"), Choice("etcd", "data"), Choice("etcd")
ENDPOINTS = {"store.etcd_endpoints": "http://one:1, http://two:2"}


def config(tmp_path: Path, **flags: str) -> Config:
    named = {name.replace("__", "."): value for name, value in flags.items()}
    places = {"server.state_dir": str(tmp_path), "server.run_dir": str(tmp_path / "run")}
    return load(environment={}, flags={**places, **named})


@pytest.mark.parametrize(
    ("flags", "choice"),
    [
        ({}, SQLITE),
        ({"store.backend": "sqlite"}, SQLITE),
        ({"store.backend": "memory"}, Choice("memory")),
        ({"store.backend": "etcd"}, OWN),
        (ENDPOINTS, CLUSTER),
        ({"store.backend": "etcd", **ENDPOINTS}, CLUSTER),
        ({"store.backend": "sqlite", **ENDPOINTS}, SQLITE),
    ],
)
def test_a_new_folder_gets_what_is_wanted(
    flags: dict[str, str], choice: Choice, tmp_path: Path
) -> None:
    assert choice_of(config(tmp_path, **flags)) == choice


def test_a_folder_keeps_what_it_has_when_nothing_is_said(tmp_path: Path) -> None:
    for choice in (SQLITE, OWN, Choice("sqlite", "store-abc.db")):
        note(tmp_path, choice)
        assert choice_of(config(tmp_path)) == choice == recorded(tmp_path)
    (tmp_path / "store.json").unlink()
    (tmp_path / "store.db").touch()  # from before there was a choice
    assert choice_of(config(tmp_path)) == SQLITE


@pytest.mark.parametrize("has", [SQLITE, OWN, CLUSTER])
@pytest.mark.parametrize(
    ("flags", "wants"),
    [
        ({"store.backend": "sqlite"}, SQLITE),
        ({"store.backend": "etcd"}, OWN),
        (ENDPOINTS, CLUSTER),
        ({"store.backend": "memory"}, Choice("memory")),
    ],
)
def test_a_configuration_that_wants_another_store_is_refused(
    has: Choice, flags: dict[str, str], wants: Choice, tmp_path: Path
) -> None:
    note(tmp_path, has)
    if has == wants:
        assert choice_of(config(tmp_path, **flags)) == has
        return
    with pytest.raises(Refused, match=f"{has.told()}, and the configuration wants") as caught:
        choice_of(config(tmp_path, **flags))
    assert caught.value.hint


def test_a_cluster_is_not_forgotten_with_its_addresses(tmp_path: Path) -> None:
    note(tmp_path, CLUSTER)
    with pytest.raises(InvalidInput, match="nothing says where"):
        choice_of(config(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 1, "backend": "x", "place": "y"}',
        '{"format": 1, "backend": "sqlite", "place": "../../etc/passwd"}',
        '{"format": 1, "backend": "sqlite", "place": ""}',
        '{"format": 2, "backend": "sqlite", "place": "store.db"}',
    ],
)
def test_a_note_that_cannot_be_read_is_no_reason_to_begin_anew(text: str, tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text(text)
    with pytest.raises(MirenError, match=r"store\.json"):
        choice_of(config(tmp_path))


async def test_what_an_interrupted_change_left_is_removed(tmp_path: Path) -> None:
    for pending in (fresh("sqlite"), fresh("etcd")):
        path = pending.path(tmp_path)
        path.parent.mkdir(exist_ok=True)
        if pending.is_managed:
            (path / "member").mkdir(parents=True)
        else:
            path.touch()
        for ending in ("-wal", ".lock", ".version"):
            path.with_name(path.name + ending).touch()
        note(tmp_path, replace(SQLITE, pending=pending))
        assert choice_of(config(tmp_path)) == SQLITE
        await tidy(config(tmp_path), SQLITE)
        assert recorded(tmp_path) == SQLITE
        assert not list(path.parent.glob(f"{path.name}*"))
        assert (tmp_path / "store.json").stat().st_mode & 0o777 == 0o600


def test_one_process_at_a_time_owns_a_folder(tmp_path: Path) -> None:
    again = pytest.raises(Refused, match=r"process \d+ works with")
    with owning(tmp_path / "new"), again, owning(tmp_path / "new"):
        raise AssertionError
    with owning(tmp_path / "new"):
        pass


def test_the_password_comes_from_a_file(tmp_path: Path) -> None:
    flags = {"store.etcd_user": "root", "store.etcd_password_file": str(tmp_path / "none")}
    with pytest.raises(InvalidInput, match="cannot be read"):
        etcd_store(("http://127.0.0.1:1",), config(tmp_path, **flags).store)


@pytest.mark.parametrize(
    ("mode", "is_told"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)]
)
def test_a_password_that_everybody_may_read_is_told_of(
    mode: int, is_told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "password"
    file.write_text("word\n")
    file.chmod(mode)
    flags = {"store.etcd_user": "root", "store.etcd_password_file": str(file)}
    etcd_store(("http://127.0.0.1:1",), config(tmp_path, **flags).store)
    told = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [f"chmod o= {file}" in record.getMessage() for record in told] == [True] * is_told
    assert [vars(record)["mode"] for record in told] == [f"{mode:04o}"] * is_told
    assert "word" not in caplog.text.replace("password", "")


def test_what_etcd_needs_is_named_when_it_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith("miren.entities.store.etcd"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(InvalidInput, match="needs grpc") as caught:
        etcd_store(("http://127.0.0.1:1",), config(tmp_path).store)
    assert caught.value.hint == "pip install 'miren[etcd]'"


def test_the_settings_for_etcd_are_checked(tmp_path: Path) -> None:
    flags = {
        "store.etcd_cert_file": "/cert",
        "store.etcd_user": "root",
        "store.etcd_prefix": "miren",
    }
    with pytest.raises(InvalidInput) as caught:
        config(tmp_path, **flags)
    assert {problem.dotted() for problem in caught.value.problems} == set(flags)
    read = config(tmp_path, **ENDPOINTS).store
    assert read.etcd_endpoints == ("http://one:1", "http://two:2")
