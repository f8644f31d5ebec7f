"""A node's controller in a process of its own works over the server, and survives its death."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server, running_server, wait_until

MODULE = Path(__file__).parent / "remote_jobs.py"
SOON = 15.0


def install(folder: Path) -> None:
    """Do what pip does: the module, and metadata that names its entry point."""
    (folder / "remote_jobs.py").write_text(MODULE.read_text())
    info = folder / "jobs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: jobs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[miren.schemas]\njobs = remote_jobs:KINDS\n")


@dataclass
class Node:
    """The process of one node."""

    process: subprocess.Popen[bytes]
    journal: Path
    gate: Path
    log: Path

    def lines(self, what: str) -> list[dict[str, Any]]:
        if not self.journal.exists():
            return []
        lines = (json.loads(line) for line in self.journal.read_text().splitlines(keepends=True))
        return [line for line in lines if line["what"] == what]

    def names(self, what: str) -> list[str]:
        return [line["name"] for line in self.lines(what)]

    def wait_for(self, what: str, *names: str) -> None:
        def have_all() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return set(names) <= set(self.names(what))

        wait_until(have_all, within=SOON, told=f"{what} of {names}: {self.names(what)}")


@contextmanager
def running_node(server: Server, folder: Path, name: str, patience: float) -> Iterator[Node]:
    journal, gate, log = (folder / f"{name}.{part}" for part in ("journal", "gate", "log"))
    paths = [str(journal), str(gate)]
    words = [str(folder / "remote_jobs.py"), server.address, name, str(patience), *paths]
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, *words], stdout=output, stderr=output)
    try:
        yield Node(process, journal, gate, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=10)


def put(server: Server, name: str, **spec: Any) -> None:
    document = {"kind": "Job", "metadata": {"name": name}, "spec": spec}
    server.ok("Apply", document=document, manager="test", force=True)


def status(server: Server, name: str) -> dict[str, Any]:
    found = server.ok("Get", kind="job", name=name)["entity"].get("status", {})
    return {key: found[key] for key in ("ranOn", "output") if key in found}


def told(server: Server, name: str) -> list[str]:
    """Return the messages of a job's events."""
    return [each["message"] for each in server.ok("Events", kind="job", name=name)["events"]]


def outputs(server: Server, **wanted: str) -> bool:
    return all(status(server, name).get("output") == text for name, text in wanted.items())


@pytest.mark.parametrize("patience", [60.0, 0.1], ids=["patient", "impatient"])
def test_a_nodes_controller_survives_the_death_of_its_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    install(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with running_server() as server, running_node(server, tmp_path, "n1", patience) as node:
        put(server, "mine", node="n1", input="a")
        put(server, "theirs", node="n2", input="b")
        put(server, "other", node="n1", input="c")
        node.wait_for("end", "mine", "other")
        wait_until(lambda: outputs(server, mine="A", other="C"), within=SOON)
        put(server, "slow", node="n1", input="d", waits=True)
        node.wait_for("begin", "slow")

        server.kill()
        node.gate.touch()  # it finishes what it was at, and nobody takes its word for it yet
        node.wait_for("end", "slow")
        server.start()

        put(server, "other", node="n1", input="cc")
        put(server, "fresh", node="n1", input="e")
        put(server, "theirs", node="n2", input="bb")
        wait_until(lambda: outputs(server, slow="D", other="CC", fresh="E"), within=SOON)
        server.ok("Delete", kind="job", name="mine")
        wait_until(lambda: server.call("Get", kind="job", name="mine").status == 404, within=SOON)
        assert node.names("finalize") == ["mine"]

        # What did not change was not looked at again, and what others do was never seen.
        assert node.names("end").count("mine") == 1
        inputs = [each["input"] for each in node.lines("end") if each["name"] == "other"]
        assert inputs == ["c", "cc"]
        assert node.names("end").count("fresh") == 1
        assert "theirs" not in node.names("begin")
        assert status(server, "theirs")["output"] == ""
        wait_until(lambda: told(server, "fresh") == ["on n1"], within=SOON)

        node.process.terminate()
        assert node.process.wait(timeout=SOON) == 0, node.log.read_text()
        (stop,) = node.lines("stop")
        # Whoever is patient goes on where it was; else its cache was filled anew, to no effect.
        assert (stop["relists"] > 0) == (patience < 1)
