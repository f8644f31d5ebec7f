"""The tutorial's and the examples' commands, in their order, on a real server."""

from __future__ import annotations

import shlex

import pytest

from tests.docs.blocks import ROOT, blocks, commands
from tests.docs.walking import FIRST, WALKED
from tests.e2e.server import Server

pytestmark = pytest.mark.host


@pytest.mark.timeout(120)
def test_every_command_of_the_docs_works(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    count = 0
    for block in blocks("console"):
        if block.page in (FIRST, *WALKED):  # their output is compared too, in tests/docs
            continue
        for command in commands(block):
            program, *words = shlex.split(command)
            assert program == "miren"
            done = server.cli(*words)
            assert done.code == 0, f"{block}: {command}: {done.err}"
            count += 1
    assert count >= 15
    # What the examples' own pages apply again.
    server.must("delete", "app/guestbook", "disk/guestbook", "sandbox/hello", "--ignore-not-found")
