"""Look at installed plugins, check them, or begin a new one.

miren plugins list              what is installed: packages, kinds, controllers, what is broken
miren plugins check             whether all of it would work, without a server
miren plugins check widgets     the same for one plugin or package
miren plugin new rabbit         write a package with a kind, its controller and their tests

A plugin is what an installed package names in the entry point groups `miren.schemas` (kinds) and
`miren.controllers`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    about = actions.add_parser("list", help="show what is installed")
    about.add_argument("-o", "--output", choices=("table", "json"), default="table")
    about = actions.add_parser("check", help="say whether it would work")
    about.add_argument("name", nargs="?", metavar="NAME", help="of a plugin or package")
    about = actions.add_parser("new", help="write a package with a kind and its controller")
    about.add_argument("name", metavar="NAME", help="of the package, such as rabbit-hutch")
    about.add_argument("--dir", type=Path, metavar="DIR", help="the folder to write (./NAME)")
    about.add_argument("--kind", metavar="KIND", help="the kind's name (NAME)")
    about.add_argument("--domain", metavar="DOMAIN", help="of the kind (NAME.example.dev)")


def run(options: argparse.Namespace) -> int:
    """Run the action; `check` returns 1 where something is broken."""
    if options.action == "new":
        from miren.cli.plugin_new import new

        return new(options.name, kind=options.kind, domain=options.domain, folder=options.dir)
    # Only here: the engine is more than `new` needs.
    from miren.cli.plugin_checks import check
    from miren.cli.plugin_listing import listing

    if options.action == "list":
        return listing(options.output)
    return check(options.name)
