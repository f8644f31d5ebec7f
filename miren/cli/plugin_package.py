"""The files of a new plugin, as `miren plugin new` writes them.

Texts with `$name`s in them: package and folder (`rabbit`, `rabbit-hutch`), kind and class, domain.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["EXAMPLE", "FILES", "SCHEMA", "VERSION"]

VERSION = "v1alpha1"

_PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$name"
version = "0.1.0"
description = "The kind $kind for Miren, and its controller"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["miren"]

[project.optional-dependencies]
dev = ["mypy>=1.14", "pytest>=8.3", "pytest-asyncio>=0.25"]

# The kinds: for the server and for the command line, which checks files with them.
[project.entry-points."miren.schemas"]
$name = "$package.gen"

# The controllers: for the server.
[project.entry-points."miren.controllers"]
$name = "$package.controller:${kind}Controller"

[tool.setuptools.packages.find]
include = ["$package*"]

[tool.setuptools.package-data]
"*" = ["py.typed", "*.yml"]

[tool.pytest.ini_options]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
testpaths = ["tests"]

[tool.mypy]
files = ["$package", "tests"]
strict = true
"""

_README = """\
# $name

The kind $kind (`$domain/$version`) for Miren, and its controller.

    pip install -e '.[dev]'
    pytest
    mypy
    miren plugins check $name

Then start the server anew, where this package is installed:

    miren apply -f $file.yaml
    miren get $singular

- `$package/schema/$version.yml` says what a $kind is. After a change of it:
  `miren schema generate $package/schema --out $package/gen`
- `$package/controller.py` brings each $kind to what its spec says.
- `tests/` needs no server.
- `pyproject.toml` names both in entry points: that is how the server finds them.
"""

SCHEMA = """\
domain: $domain
version: $version
doc: What $name brings.

kinds:
  $attribute:
    $$options:
      doc: A text whose words are counted.
      printcolumns: {WORDS: status.words}
    text: {type: string, required: true, doc: What is counted.}
    words: {type: int, status: true, doc: How many words it has.}
"""

_CONTROLLER = '''\
"""Brings each $kind to what its spec says."""

from __future__ import annotations

from miren import Context, Controller, Permanent

from $package.gen import $class_name
from $package.gen.$version import ${class_name}Status


class ${kind}Controller(Controller[$class_name]):
    """Counts words: yours does something else."""

    async def reconcile(self, ctx: Context[$class_name], entity: $class_name) -> None:
        """Bring the world to what the spec says; called again until it is so."""
        words = len(entity.spec.text.split())
        if words == 0:
            raise Permanent("the text has no words", reason="NothingToCount")
        ctx.status = ${class_name}Status(words=words)
        ctx.ready("Counted")
'''

_TEST_CONTROLLER = '''\
"""The controller, called as the engine calls it; and on an engine, without a server."""

from __future__ import annotations

from miren import Engine, MemoryStore, Permanent
from miren.reconcile.testing import reconcile_once

from $package.controller import ${kind}Controller
from $package.gen import $class_name


async def test_words_are_counted() -> None:
    out = await reconcile_once(${kind}Controller(), $class_name.new("one", text="a few words"))
    assert out.error is None
    assert out.entity.status.words == 3


async def test_a_text_without_words_is_not_tried_again() -> None:
    out = await reconcile_once(${kind}Controller(), $class_name.new("none", text=" "))
    assert isinstance(out.error, Permanent)


async def test_a_changed_text_is_counted_again() -> None:
    async with Engine(MemoryStore(), [${kind}Controller()]) as engine:
        for text, words in (("one", 1), ("one two", 2)):
            wanted = $class_name.partial("changing", text=text)
            await engine.client.apply(wanted, manager="test")
            await engine.run_until_idle(timeout=30)
            found = await engine.client.get($class_name, "changing")
            assert found.status.words == words
'''

_TEST_GENERATED = '''\
"""The generated code is what the schema says."""

from __future__ import annotations

from pathlib import Path

from miren.schemagen.main import check

import $package

PACKAGE = Path($package.__file__).parent


def test_the_generated_code_is_fresh() -> None:
    assert check([PACKAGE / "schema"], PACKAGE / "gen") == []
'''

EXAMPLE = """\
apiVersion: $domain/$version
kind: $kind
metadata: {name: first}
spec:
  text: the words of this text
"""

#: Where each text goes.
FILES: Mapping[str, str] = {
    "pyproject.toml": _PYPROJECT,
    "README.md": _README,
    "$file.yaml": EXAMPLE,
    "$package/__init__.py": '"""The kind $kind for Miren, and its controller."""\n',
    "$package/py.typed": "",
    "$package/controller.py": _CONTROLLER,
    "tests/test_controller.py": _TEST_CONTROLLER,
    "tests/test_generated.py": _TEST_GENERATED,
}
