"""Set labels, or take them off.

miren label sandbox web tier=front
miren label sandbox web tier=back --overwrite
miren label sandbox/web disk/data tier-
miren label sandboxes -l app=web tier=front
"""

from __future__ import annotations

import argparse

from miren.cli.marking import Marks, configure_marks, run_marks

__all__ = ["LABELS", "configure", "run"]

LABELS = Marks("labels", "label", "labeled", "unlabeled")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    configure_marks(parser, LABELS)


def run(options: argparse.Namespace) -> int:
    """Set and take off labels."""
    return run_marks(options, LABELS)
