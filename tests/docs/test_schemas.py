"""The reference of the schema language says all there is, and every example of a schema loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from miren.base.errors import InvalidInput
from miren.schemagen.bindings import STORED
from miren.schemagen.conversions import KEYS
from miren.schemagen.language import COMPOUNDS, LANGUAGE, SCALARS
from miren.schemagen.language_tables import MARK, language_tables, with_tables
from miren.schemagen.loader import load
from tests.docs.blocks import ROOT, Block, blocks
from tests.docs.schemas import attributes_in, data_of, file_of, schema_blocks
from tests.servers import call_main

PAGE = ROOT / "docs" / "reference" / "schema-language.md"
TYPES = (*SCALARS, *COMPOUNDS)
EXAMPLES = schema_blocks(PAGE.name)


def options_of(definition: str) -> set[str]:
    found: dict[str, object] = LANGUAGE["$defs"][definition]["properties"]["$options"][
        "properties"
    ]
    return set(found)


ALONE = [block for block in blocks("schema") if "/" not in file_of(block)[0]]


@pytest.mark.parametrize("block", ALONE, ids=str)
def test_schemas_in_the_docs_compile(block: Block) -> None:
    assert load([file_of(block)])


def test_schemas_in_the_docs_that_are_in_one_folder_compile_together() -> None:
    folders: dict[tuple[Path, str], list[tuple[str, str]]] = {}
    for block in blocks("schema"):
        name, text = file_of(block)
        if "/" in name:
            folders.setdefault((block.page, name.partition("/")[0]), []).append((name, text))
    assert len(folders) >= 4
    for files in folders.values():
        assert len(load(files)) == len(files)


def test_the_tables_say_what_the_loader_does() -> None:
    text = PAGE.read_text()
    told = "run `make generate`"
    assert with_tables(text) == text, told


def test_a_page_without_a_place_for_the_tables_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no place"):
        with_tables("# A page\n")


def test_the_tables_know_where_a_key_has_a_meaning() -> None:
    rows = {}
    for line in PAGE.read_text().partition("### Keys of an attribute")[2].splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 8:
            rows[cells[1].strip("`")] = (cells[4], cells[5])
    assert rows["choices"] == ("enum", "anywhere")
    assert rows["min"][0] == "int, float, duration, quantity"
    assert rows["merge_key"] == ("component, with `many`", "spec, status, components")
    assert rows["owner"] == ("ref, not `many`", "spec")
    assert rows["session"] == ("any but secret", "status")
    assert set(LANGUAGE["$defs"]["attribute"]["properties"]) <= set(rows)


@pytest.mark.parametrize("type_", TYPES)
def test_every_type_has_a_row_and_an_example(type_: str) -> None:
    assert f"\n| `{type_}` |" in PAGE.read_text().partition("## Types")[2]
    assert any(type_ == written["type"] for block in EXAMPLES for written in attributes_in(block))


@pytest.mark.parametrize("key", sorted(LANGUAGE["$defs"]["attribute"]["properties"]))
def test_every_key_of_an_attribute_has_an_example(key: str) -> None:
    assert any(key in written for block in EXAMPLES for written in attributes_in(block))


def test_every_key_of_a_file_and_every_option_has_an_example() -> None:
    files = [data_of(block) for block in EXAMPLES]
    assert set(LANGUAGE["properties"]) <= {key for file in files for key in file}
    for part, definition in (("kinds", "kind"), ("components", "component")):
        written = [each for file in files for each in file.get(part, {}).values()]
        assert options_of(definition) <= {
            key for each in written for key in each.get("$options", ())
        }


@pytest.mark.parametrize("key", KEYS)
def test_every_step_of_a_conversion_is_explained_and_has_an_example(key: str) -> None:
    assert re.search(rf"^\| .*\b{key}: ", PAGE.read_text(), re.MULTILINE)
    steps = [
        step
        for block in EXAMPLES
        for kinds in data_of(block).get("conversions", {}).values()
        for found in kinds.values()
        for step in found
    ]
    assert any(key in step for step in steps)


@pytest.mark.parametrize("value", STORED)
def test_what_an_attribute_can_be_bound_to_is_listed_with_its_types(value: str) -> None:
    (row,) = re.findall(
        rf"^\| .*`{re.escape(value)}`.*\| (.*) \|$", PAGE.read_text(), re.MULTILINE
    )
    types = row.partition(":")[0].split(", ")
    assert set(types) == STORED[value]


def test_the_mark_stands_once() -> None:
    assert PAGE.read_text().count(MARK) == 1


def test_the_command_line_prints_the_same_tables() -> None:
    printed = call_main("schema", "language", "--markdown")
    assert printed.code == 0
    assert printed.out == language_tables()
