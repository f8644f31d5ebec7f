"""Set annotations, or take them off.

miren annotate app web example.com/team=shop
miren annotate app web example.com/team-
"""

from __future__ import annotations

import argparse

from miren.cli.marking import Marks, configure_marks, run_marks

__all__ = ["configure", "run"]

_ANNOTATIONS = Marks("annotations", "annotation", "annotated", "annotated")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    configure_marks(parser, _ANNOTATIONS)


def run(options: argparse.Namespace) -> int:
    """Set and take off annotations."""
    return run_marks(options, _ANNOTATIONS)
