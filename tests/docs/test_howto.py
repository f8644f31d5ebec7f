"""The how-to pages and concepts, taken at their word on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from miren.entities.attributes import attributes
from tests.docs.blocks import ROOT, blocks
from tests.docs.walking import WALKED, Walk, still
from tests.servers import Server, running_server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.mark.parametrize("page", WALKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_says_what_happens(
    page: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    walk = Walk(page, server.address)
    try:
        walk.run()
    finally:
        for entity in reversed(walk.created):
            server.cli("delete", entity, "--ignore-not-found", "--cascade=foreground")


def test_every_command_of_these_pages_shows_what_it_prints() -> None:
    assert len(WALKED) >= 5
    for block in blocks("console"):
        if block.page in WALKED:
            assert block.text.startswith("$ ")


def test_what_moves_is_not_compared_and_all_else_is() -> None:
    before = "  uid: mzjz2of3sjh3dihlgyem\n  generation: 2\nweb   shop   3s\n"
    assert still(before) == still(before.replace("mzjz2", "abcde").replace(" 3s", " 14s"))
    assert still(before) != still(before.replace("generation: 2", "generation: 3"))


def test_the_two_ways_to_write_a_kind_come_to_the_same(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "howto" / "define-entities.md"
    walk = Walk(page, server.address)
    walk.run()
    ours, generated = walk.names["MyWidget"].kind, walk.names["Widget"].kind
    assert attributes(ours) == attributes(generated)
    assert (ours.words(), ours.columns, ours.doc) == (
        generated.words(),
        generated.columns,
        generated.doc,
    )


def test_what_the_docs_say_of_packaging_is_what_the_example_does() -> None:
    written = (ROOT / "examples" / "04-plugin-package" / "pyproject.toml").read_text()
    snippets = [block for block in blocks("toml") if block.page.name == "define-entities.md"]
    assert len(snippets) == 2
    for block in snippets:
        assert block.text in written
