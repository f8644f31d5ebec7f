from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "06-unit-test-a-controller"


def test_the_example_is_green_where_nothing_else_is(tmp_path: Path) -> None:
    file = tmp_path / "test_thermostat.py"
    file.write_text((EXAMPLE / "test_thermostat.py").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_a_kind_its_controller_and_their_test_are_thirty_lines_and_five_names() -> None:
    text = (EXAMPLE / "test_thermostat.py").read_text()
    names = [
        alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    assert len(names) <= 5
    assert len(text.splitlines()) <= 30
