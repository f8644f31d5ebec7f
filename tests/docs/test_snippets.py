"""Every snippet in README, docs and examples is run, checked or at least known."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from miren.base.errors import InvalidInput
from miren.entities.documents import files_of, read_documents
from miren.entities.gen import KINDS
from miren.entities.kinds import Kinds
from tests.docs.blocks import LANGUAGES, PAGES, ROOT, Block, blocks
from tests.docs.walking import FIRST, WALKED


def test_there_is_something_to_check() -> None:
    assert len(list(blocks("python"))) >= 3
    assert len(list(blocks("console"))) >= 6


@pytest.mark.parametrize("block", list(blocks()), ids=str)
def test_every_block_is_of_a_kind_that_is_tested(block: Block) -> None:
    assert block.language in LANGUAGES


def test_the_readmes_python_works_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "readme"}
    for block in blocks("python"):
        if block.page in (FIRST, *WALKED):
            continue
        assert block.page.name == "README.md"
        assert block.page.parent == ROOT
        code = "\n" * block.line + block.text
        exec(compile(code, str(block.page), "exec"), names)
    asyncio.run(names["test_greetings_are_shouted"]())
    asyncio.run(names["main"]())
    assert (tmp_path / "app.db").exists()


@pytest.mark.parametrize(
    "block", [block for block in blocks("yaml") if block.page != FIRST], ids=str
)
def test_documents_in_the_docs_are_valid(block: Block) -> None:
    assert read_documents([(str(block), block.text)], Kinds(KINDS))


def test_the_tutorials_broken_document_is_answered_as_it_says() -> None:
    (broken,) = blocks("yaml invalid")
    with pytest.raises(InvalidInput) as caught:
        read_documents([("broken.yaml", broken.text)], Kinds(KINDS))

    assert len(caught.value.problems) == 3
    shown = [block.text.strip() for block in blocks("text") if "broken.yaml" in block.text]
    assert shown == [
        problem.render() for problem in caught.value.problems if "prot" in problem.message
    ]


@pytest.mark.parametrize("block", list(blocks("sh")), ids=str)
def test_shell_blocks_use_what_there_is(block: Block) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in block.text.splitlines():
        command, *words = line.split("#")[0].split()
        if command == "make":
            assert set(words) <= targets
        else:
            assert command == ".venv/bin/miren"
            assert words[0] in ("server", "store")


@pytest.mark.parametrize("folder", ["01-hello/sandbox.yaml", "07-app"])
def test_the_examples_documents_are_valid(folder: str) -> None:
    assert read_documents(files_of([ROOT / "examples" / folder]), Kinds(KINDS))


def test_the_greeter_example_runs() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "02-controller-class" / "greeter.py"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "HELLO, WORLD\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)\)", prose):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_glossary_has_each_word_once_and_in_order() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    words = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)[1:]
    assert len(words) > 60
    assert words == sorted(set(words), key=str.lower)


def test_the_readme_is_one_screen_of_prose() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 110
