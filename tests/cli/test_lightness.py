"""One-shot commands start quickly because they import next to nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.servers import Server

HEAVY = {
    "aiohttp",
    "apsw",
    "asyncio",
    "concurrent",
    "grpc",
    "http",
    "jsonschema",
    "logging",
    "orjson",
    "pydantic",
    "pyroute2",
    "rich",
    "yaml",
}
DRIVER = """
import sys
from miren.cli.main import main
code = main(sys.argv[1:])
print(code, *sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)
"""


def imported(*words: str) -> tuple[int, set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *words],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    code, *modules = done.stderr.splitlines()[-1].split()
    return int(code), set(modules)


@pytest.mark.parametrize(
    "words",
    [
        "get sb",
        "get disks -A -o json",
        "get disk/light",
        "describe disk/light",
        "api-resources",
        "wait disk/light --for condition=Ready",
        "delete role/none --ignore-not-found",
        "delete roles -l no=such",
        "get disks -l tier,a!=b --refers-to disk/light",
        "label disk/light light=1 --overwrite",
        "annotate disk/light light-",
        'patch disk/light -p {"spec":{"size":"1Gi"}}',
        "store status",
        "--help",
    ],
)
def test_a_one_shot_command_imports_nothing_heavy(server: Server, words: str) -> None:
    document = {"kind": "Disk", "metadata": {"name": "light"}}
    server.ok("Apply", document=document)
    arguments = words.split()
    if not words.startswith("-"):
        arguments += ["--server", server.address]
    code, modules = imported(*arguments)
    assert code == 0
    assert modules & HEAVY == set()
