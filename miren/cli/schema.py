"""Work with schema files.

miren schema generate schema/ --out kinds/       write typed Python
miren schema check schema/ --out kinds/          say what generate would change
miren schema diff old.yml new.yml                say what changed, and what breaks stored data
miren schema explain site.spec --file site.yml   what an attribute means, before it is installed
miren schema docs schema/ --out reference.md     a reference in Markdown
miren schema import --crd crd.yaml --out x.yml   a schema from Kubernetes CRDs
miren schema export --crd schema/                CRDs from schemas
miren schema language                            the language as a JSON Schema, for editors
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from miren.base.errors import InvalidInput
from miren.schemagen.loader import load_files
from miren.schemagen.main import check, generate, language, reference, schema_files

__all__ = ["configure", "run"]

_SCHEMAS = "schema files, or folders of them"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("generate", "write typed Python"),
        ("check", "say what generate would change"),
    ):
        about = actions.add_parser(name, help=text)
        about.add_argument("paths", nargs="+", type=Path, help=_SCHEMAS)
        about.add_argument("--out", type=Path, required=True, help="the folder of the package")
        about.add_argument("--docs", type=Path, help="the file of the reference in Markdown")
    about = actions.add_parser("diff", help="say what changed, and what breaks stored data")
    about.add_argument("old", type=Path, help="a schema file, or a folder of them")
    about.add_argument("new", type=Path, help="the same, as it is to become")
    about.add_argument("-o", "--output", choices=("text", "json"), default="text")
    about = actions.add_parser("explain", help="show what a kind and its attributes mean")
    about.add_argument("path", metavar="KIND[.PATH]", help="such as site.spec.ports")
    about.add_argument("--file", action="append", type=Path, required=True, help=_SCHEMAS)
    about.add_argument("--recursive", action="store_true", help="show all that is inside")
    about = actions.add_parser("docs", help="write a reference in Markdown")
    about.add_argument("paths", nargs="+", type=Path, help=_SCHEMAS)
    about.add_argument("--out", type=Path, help="the file to write; else it is printed")
    about = actions.add_parser("import", help="make a schema from Kubernetes CRDs")
    about.add_argument("--crd", action="store_true", required=True, help="they are CRDs")
    about.add_argument("paths", nargs="+", type=Path, help="files of CRDs")
    about.add_argument("--out", type=Path, help="a file, or a folder where several come out")
    about = actions.add_parser("export", help="make Kubernetes CRDs from schemas")
    about.add_argument("--crd", action="store_true", required=True, help="as CRDs")
    about.add_argument("paths", nargs="+", type=Path, help=_SCHEMAS)
    about.add_argument("--kind", help="only this kind")
    about.add_argument("--out", type=Path, help="the file to write; else it is printed")
    about = actions.add_parser("language", help="print the language as a JSON Schema, for editors")
    about.add_argument("--markdown", action="store_true", help="its keys as tables instead")


def run(options: argparse.Namespace) -> int:
    """Run the action."""
    return _ACTIONS[options.action](options)


def _generate(options: argparse.Namespace) -> int:
    for path in generate(options.paths, options.out, docs=options.docs):
        print(path)
    return 0


def _check(options: argparse.Namespace) -> int:
    stale = check(options.paths, options.out, docs=options.docs)
    for path in stale:
        print(f"{path} is stale: run `miren schema generate`")
    return 1 if stale else 0


def _language(options: argparse.Namespace) -> int:
    from miren.schemagen.language_tables import language_tables

    print(language_tables() if options.markdown else language(), end="")
    return 0


def _diff(options: argparse.Namespace) -> int:
    """Print the differences; 1 says that some break stored data."""
    from miren.schemagen.diff import Side, Verdict, compare
    from miren.schemagen.places import Places

    files = {Side.OLD: schema_files([options.old]), Side.NEW: schema_files([options.new])}
    schemas = {side: load_files(paths) for side, paths in files.items()}
    changes = compare(schemas[Side.OLD], schemas[Side.NEW])
    places = {side: Places(files[side], schemas[side]) for side in files}
    rows = [(change, places[change.side].position(change.origin)) for change in changes]
    if options.output == "json":
        told = [
            {
                "path": change.path,
                "verdict": change.verdict.value,
                "message": change.message,
                "hint": change.hint,
                "file": at.file if at else None,
                "line": at.line if at else None,
                "column": at.column if at else None,
            }
            for change, at in rows
        ]
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        for change, at in rows:
            where = f"  ({at.file}:{at.line}:{at.column})" if at else ""
            print(f"{change.verdict.value:10}  {change.path}: {change.message}{where}")
            if change.hint:
                print(f"{'':12}help: {change.hint}")
        print(_summary([change.verdict for change in changes]))
    return 1 if any(change.verdict is Verdict.BREAKING for change in changes) else 0


def _summary(verdicts: Sequence[str]) -> str:
    if not verdicts:
        return "nothing changed"
    counts = [
        f"{verdicts.count(verdict)} {verdict}"
        for verdict in ("breaking", "caution", "compatible")
        if verdict in verdicts
    ]
    return ", ".join(counts)


def _explain(options: argparse.Namespace) -> int:
    from miren.cli.schema_topics import subject_named, subjects_of
    from miren.entities.explaining import explanation

    name, *steps = options.path.split(".")
    subject = subject_named(name, subjects_of(load_files(schema_files(options.file))))
    print(explanation(subject, steps, recursive=options.recursive))
    return 0


def _docs(options: argparse.Namespace) -> int:
    _give(options.out, reference(options.paths))
    return 0


def _import(options: argparse.Namespace) -> int:
    from miren.schemagen.crd_import import import_crds

    found = import_crds((str(path), path.read_text("utf-8")) for path in options.paths)
    out: Path | None = options.out
    is_folder = out is not None and (out.is_dir() or out.suffix not in (".yml", ".yaml"))
    if out is None or not is_folder:
        if len(found) > 1:
            names = ", ".join(f"{each.domain}/{each.version}" for each in found)
            raise InvalidInput(f"several files come out: {names}", hint="give a folder as --out")
        _give(out, found[0].text)
        return 0
    out.mkdir(parents=True, exist_ok=True)
    for each in found:
        _give(out / each.file, each.text)
    return 0


def _export(options: argparse.Namespace) -> int:
    import yaml

    from miren.schemagen.crd_export import export_crds

    crds: list[dict[str, Any]] = export_crds(
        load_files(schema_files(options.paths)), kind=options.kind
    )
    _give(options.out, yaml.dump_all(crds, Dumper=_dumper(), sort_keys=False, allow_unicode=True))
    return 0


def _dumper() -> Any:
    """Return a dumper that writes what is there twice twice: anchors read badly."""
    import yaml

    return type("Dumper", (yaml.CSafeDumper,), {"ignore_aliases": lambda _self, _data: True})


def _give(out: Path | None, text: str) -> None:
    """Write a text, and say where; or print it where no file is named."""
    if out is None:
        sys.stdout.write(text)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    print(out)


_ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "generate": _generate,
    "check": _check,
    "diff": _diff,
    "explain": _explain,
    "docs": _docs,
    "import": _import,
    "export": _export,
    "language": _language,
}
