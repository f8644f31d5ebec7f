"""Build images from recipes, or import OCI archives, into the server's node.

miren image build examples/01-hello/image
miren image import hello.tar --name hello
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from urllib.parse import urlencode

from miren.base.errors import InvalidInput
from miren.cli.connection import add_options, calls_to

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="build|import")
    build = actions.add_parser("build", help="build the recipe in a folder and import it")
    build.add_argument("source", type=Path, metavar="FOLDER")
    build.add_argument("-o", "--output", type=Path, help="write the OCI archive here instead")
    load = actions.add_parser("import", help="import an OCI archive")
    load.add_argument("source", type=Path, metavar="ARCHIVE")
    load.add_argument("--name", required=True, help="what sandboxes call it")
    for each in (build, load):
        add_options(each, project=False)


def run(options: argparse.Namespace) -> int:
    """Build or import."""
    if options.action == "import":
        return _import(options, options.source, options.name)
    from miren.runtime.images.recipe import build_recipe

    if options.output is not None:
        recipe, digest = build_recipe(options.source, options.output)
        print(f"{recipe.name} {digest}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image.tar"
        recipe, _digest = build_recipe(options.source, archive)
        return _import(options, archive, recipe.name)


def _import(options: argparse.Namespace, archive: Path, name: str) -> int:
    if not archive.is_file():
        raise InvalidInput(f"{archive} is not a file")
    with archive.open("rb") as file:
        answer = calls_to(options).upload(
            "miren.images.v1.Images/Import",
            urlencode({"name": name}),
            file,
            archive.stat().st_size,
        )
    print(f"{answer['name']} {answer['digest']}")
    return 0
