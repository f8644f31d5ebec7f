"""The options that say where a server is, for the server and for what works in its place."""

from __future__ import annotations

import argparse
from pathlib import Path

from miren.server.config import Config, load

__all__ = ["add_places", "add_store", "config_of"]


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add --config and where the folders are."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="a TOML file; the options stand above it"
    )
    parser.add_argument("--state-dir", metavar="FOLDER", help="what outlives the server")
    parser.add_argument("--run-dir", metavar="FOLDER", help="where its socket is")


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add what says which store it is."""
    parser.add_argument(
        "--store",
        choices=("sqlite", "etcd", "memory"),
        help="what keeps entities (default: what the state folder has, else sqlite)",
    )
    parser.add_argument(
        "--etcd-endpoints",
        metavar="ADDRESSES",
        help="the etcd cluster to use, with commas between; without, the server runs its own",
    )
    parser.add_argument(
        "--etcd-prefix",
        metavar="PREFIX",
        help="where in the cluster the store's keys are (default: /miren)",
    )


def config_of(options: argparse.Namespace) -> Config:
    """Return the configuration: those of our options that are there and given, above the file."""
    flags = {
        "server.state_dir": "state_dir",
        "server.run_dir": "run_dir",
        "server.node_name": "node_name",
        "store.backend": "store",
        "store.etcd_endpoints": "etcd_endpoints",
        "store.etcd_prefix": "etcd_prefix",
        "runtime.adapter": "runtime",
        "log.level": "log_level",
        "log.format": "log_format",
    }
    found = {name: getattr(options, attribute, None) for name, attribute in flags.items()}
    given = {name: value for name, value in found.items() if value is not None}
    return load(options.config, flags=given)
