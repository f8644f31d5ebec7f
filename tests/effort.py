"""Whether this run is the long one."""

from __future__ import annotations

import os

IS_SOAK = os.environ.get("MIREN_SOAK", "") not in ("", "0")


def tries(usual: int, *, soak: int) -> int:
    """Return how often to try something random."""
    return soak if IS_SOAK else usual
