"""kopf and the official Python client, in a virtual environment of their own.

They are made to speak to the API here, which shows that it is like the real one. The environment
is made once, and kept where the benchmarks keep theirs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PEERS = ("kopf==1.45.2", "kubernetes==37.0.2")
FOLDER = Path(__file__).parents[2] / "bench" / ".cache" / "kubernetes"


def peers_python() -> str:
    """Return the Python of the environment, made when there is none."""
    python, done = FOLDER / "bin" / "python", FOLDER / "done"
    if not done.exists() or done.read_text() != str(PEERS):
        shutil.rmtree(FOLDER, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
        # What is compiled in advance here is mostly never imported.
        install = ["install", "--quiet", "--no-compile", "--disable-pip-version-check", *PEERS]
        subprocess.run([str(python), "-m", "pip", *install], check=True)
        done.write_text(str(PEERS))
    return str(python)
