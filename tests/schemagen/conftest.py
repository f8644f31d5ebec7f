"""A schema to a package that is really imported, for tests of generated code."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from miren.schemagen.main import generate

_numbers = itertools.count()

Generated = Callable[..., ModuleType]


@pytest.fixture
def generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Generated]:
    """Return a function from texts by file name to the imported package."""
    monkeypatch.syspath_prepend(tmp_path)
    made: list[str] = []

    def build(**texts: str) -> ModuleType:
        name = f"generated_{next(_numbers)}"
        made.append(name)
        sources = tmp_path / "schema"
        sources.mkdir(exist_ok=True)
        for file, text in texts.items():
            (sources / f"{file}.yml").write_text(text, encoding="utf-8")
        generate([sources], tmp_path / name)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield build
    for module in [m for m in sys.modules if m.partition(".")[0] in made]:
        del sys.modules[module]
