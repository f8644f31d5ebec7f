from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import blocks

EXAMPLE = Path(__file__).parents[2] / "examples" / "03-controller-decorators"


def test_the_example_prints_what_its_page_shows() -> None:
    (shown,) = [each.text for each in blocks("text") if each.page.parent == EXAMPLE]
    done = subprocess.run(
        [sys.executable, EXAMPLE / "disks.py"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == shown
