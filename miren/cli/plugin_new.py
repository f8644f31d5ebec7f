"""`miren plugin new`: a package with a kind, its controller and their tests, ready to be changed.

All of it is written, or nothing: what would be wrong with a name shows before the first file.
"""

from __future__ import annotations

import keyword
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from string import Template

from miren.base.errors import InvalidInput, Refused
from miren.cli.plugin_package import FILES, SCHEMA, VERSION
from miren.schemagen.loader import load_files
from miren.schemagen.main import generate
from miren.schemagen.names import snake

__all__ = ["new"]

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_LONGEST = 50
#: Packages that ours would stand before, beside those that come with Python.
_TAKEN = frozenset({"miren", "tests", "pytest", "mypy", "setuptools"})
#: Names that the files of a package import beside the kind's class.
_IMPORTED = frozenset({"Context", "Controller", "Engine", "MemoryStore", "Path", "Permanent"})


def new(
    name: str, *, kind: str | None = None, domain: str | None = None, folder: Path | None = None
) -> int:
    """Write the package `name` into `folder` (None: `./<name>`) and print what was written.

    Raises InvalidInput for a name, kind or domain that cannot be, Refused when there is anything
    in the folder already.
    """
    package = _package(name)
    target = folder or Path(name)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Refused(f"{target} is there already", hint="choose another --dir, or remove it")
    if kind is not None and not _KIND.fullmatch(kind):
        raise InvalidInput(
            f"{kind!r} cannot be the name of a kind", hint="one word of letters and digits: Hutch"
        )
    attribute = snake(kind or package)
    names = {
        "name": name,
        "package": package,
        "file": name,
        "attribute": attribute,
        "domain": domain or f"{name}.example.dev",
        "version": VERSION,
    }
    with tempfile.TemporaryDirectory() as scratch:
        schema = Path(scratch) / f"{VERSION}.yml"
        schema.write_text(_filled(SCHEMA, names), encoding="utf-8")
        loaded = load_files([schema])[0]
    (known,) = loaded.kinds
    if loaded.domain != names["domain"]:
        raise InvalidInput(f"{domain!r} cannot be a domain", hint="name one such as example.dev")
    if known.class_name in _IMPORTED:
        raise InvalidInput(
            f"a kind {known.name!r} would hide what its controller needs of Miren",
            hint="call it something else: --kind",
        )
    names |= {
        "kind": known.name,
        "singular": known.name.lower(),
        "class_name": known.class_name,
    }
    _write(target, package, names)
    return 0


def _package(name: str) -> str:
    """Return the name of the Python package, or raise InvalidInput."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise InvalidInput(
            f"{name!r} cannot be the name of a package",
            hint="lower-case words of letters and digits, with - between them: rabbit-hutch",
        )
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or package in {*sys.stdlib_module_names, *_TAKEN}:
        raise InvalidInput(f"{package!r} means something else in Python already")
    return package


def _write(target: Path, package: str, names: Mapping[str, str]) -> None:
    schemas, gen = target / package / "schema", target / package / "gen"
    texts = {**FILES, f"{package}/schema/{VERSION}.yml": SCHEMA}
    for place, text in texts.items():
        path = target / _filled(place, names)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_filled(text, names), encoding="utf-8")
    generate([schemas], gen)
    for path in sorted(path for path in target.rglob("*") if path.is_file()):
        print(path)


def _filled(text: str, names: Mapping[str, str]) -> str:
    return Template(text).substitute(names)
