"""Tables as the server makes them, and the ages in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product, starmap

import pytest

from miren.entities.entity import OwnerReference
from miren.entities.gen import Node, Sandbox
from miren.entities.gen.compute import SandboxPhase
from miren.server import tables
from miren.server.tables import Look

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def sandbox() -> Sandbox:
    made = Sandbox.new("web", project="team", node="n1", containers=[{"image": "hello"}])
    made = made.with_metadata(creation_timestamp=NOW - timedelta(minutes=5))
    return made.with_status(made.status.model_copy(update={"phase": SandboxPhase.RUNNING}))


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=-5), "0s"),
        (timedelta(seconds=59), "59s"),
        (timedelta(seconds=60), "1m"),
        (timedelta(seconds=90), "1m30s"),
        (timedelta(minutes=3, seconds=30), "3m"),
        (timedelta(hours=2, minutes=5), "2h5m"),
        (timedelta(hours=9, minutes=5), "9h"),
        (timedelta(days=1, hours=1), "1d1h"),
        (timedelta(days=1, minutes=1), "1d"),
        (timedelta(days=400), "400d"),
    ],
)
def test_an_age_has_one_or_two_units(span: timedelta, text: str) -> None:
    assert tables.age(span) == text


def test_a_row_stands_under_its_headings() -> None:
    columns = tables.columns(Sandbox.kind, Look())
    row = tables.row(sandbox(), Look(), now=NOW)
    shown = dict(zip(columns, row, strict=True))
    assert shown["NAME"] == "web"
    assert shown["PHASE"] == "running"
    assert shown["NODE"] == "n1"
    assert shown["ADDRESS"] == "-"
    assert shown["AGE"] == "5m"


def test_projects_are_shown_only_of_kinds_that_have_them() -> None:
    assert tables.columns(Sandbox.kind, Look(with_project=True))[0] == "PROJECT"
    assert tables.row(sandbox(), Look(with_project=True), now=NOW)[0] == "team"
    assert "PROJECT" not in tables.columns(Node.kind, Look(with_project=True))
    assert tables.row(Node.new("n1"), Look(with_project=True), now=NOW)[0] == "n1"


def test_the_end_of_an_entity_shows_in_its_phase() -> None:
    going = sandbox().with_metadata(deletion_timestamp=NOW)
    place = tables.columns(Sandbox.kind, Look()).index("PHASE")
    assert tables.row(going, Look(), now=NOW)[place] == "deleting"
    assert tables.row(going, Look(), now=NOW, gone=True)[place] == "deleted"


def test_every_row_of_every_kind_is_as_long_as_its_headings() -> None:
    for entity in (sandbox(), Node.new("n1")):
        for look in starmap(Look, product((True, False), repeat=3)):
            columns = tables.columns(entity.kind, look)
            assert len(columns) == len(tables.row(entity, look, now=NOW))


def test_a_wide_table_cuts_nothing_and_names_owners() -> None:
    owner = OwnerReference(api_version="miren.dev/v1alpha1", kind="App", name="shop", uid="u")
    told = sandbox().with_metadata(owner_references=(owner,), labels={"a": "b", "c": ""})
    told = told.with_status(told.status.model_copy(update={"reason": "why " * 100}))
    look = Look(is_wide=True, with_labels=True)
    shown = dict(
        zip(tables.columns(Sandbox.kind, look), tables.row(told, look, now=NOW), strict=True)
    )
    assert shown["REASON"] == "why " * 100
    assert shown["OWNER"] == "app/shop"
    assert shown["LABELS"] == "a=b,c="


def test_a_long_cell_is_cut_so_that_its_line_stays_readable() -> None:
    told = sandbox()
    told = told.with_status(told.status.model_copy(update={"reason": "why " * 100}))
    reason = tables.row(told, Look(), now=NOW)[-2]
    assert len(reason) == 72
    assert reason.endswith("…")
