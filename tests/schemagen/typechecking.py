"""What ruff and mypy say to generated packages: as strict as they can be, one cache for all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def type_errors(folder: Path, *names: str) -> list[str]:
    """Return the errors of `mypy --strict` in these files and packages of a folder."""
    strict = ["--strict", "--config-file=", "--follow-imports=silent"]
    done = _run(folder, "mypy", *strict, f"--cache-dir={ROOT}/.mypy_cache/generated", *names)
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert done.returncode == (1 if errors else 0), done.stdout + done.stderr
    return errors


def assert_formatted(folder: Path, name: str) -> None:
    """Fail when `ruff format` would change a file of the package."""
    options = ["--diff", "--no-cache", "--config", f"{ROOT}/pyproject.toml"]
    done = _run(folder, "ruff", "format", *options, name)
    assert done.returncode == 0, done.stdout + done.stderr


def _run(folder: Path, tool: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).parent / tool, *words],
        cwd=folder,
        env={"MYPYPATH": str(ROOT), "PATH": "", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
