"""A real server in a folder of its own, driven as a person would: by commands and signals."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from miren.rpc.calls import Calls
from miren.runtime.containerd.processes import processes_with
from miren.runtime.containerd.purge import leftovers, purge
from tests.folders import abandoned, claim
from tests.servers import MIREN, Done, run_miren, wait_until

SORT = "mve2e"
EXAMPLES = Path(__file__).parents[2] / "examples"


class Server:
    """One `miren server` and its folders. `close` removes all it had on this host."""

    def __init__(self) -> None:
        for folder in abandoned(SORT):
            remove(folder)
        self.base = claim(SORT)
        self.state, self.run_dir = self.base / "state", self.base / "run"
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def calls(self) -> Calls:
        return Calls(f"unix://{self.run_dir}/miren.sock")

    @property
    def instance(self) -> str:
        return (self.state / "instance").read_text().strip()

    @property
    def log(self) -> str:
        return (self.base / "server.log").read_text()

    def start(self) -> None:
        self.starts += 1
        with (self.base / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [MIREN, "server", "--state-dir", self.state, "--run-dir", self.run_dir],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, within=60, told="the server answers")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        return "is not running" not in self.cli("version").out

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def terminate(self) -> float:
        """Stop it as an init system would; return how long that took."""
        began = time.monotonic()
        assert self._end(signal.SIGTERM) == 0, self.log
        return time.monotonic() - began

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        self.process = None
        return code

    def cli(self, *words: str, stdin: str = "") -> Done:
        return run_miren(*words, stdin=stdin, MIREN_SERVER=f"unix://{self.run_dir}/miren.sock")

    def must(self, *words: str, stdin: str = "") -> str:
        done = self.cli(*words, stdin=stdin)
        assert done.code == 0, f"{words}: {done.err}\n{self.log}"
        return done.out

    def get(self, what: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.must("get", what, "-o", "json"))
        return document

    def apply(self, *documents: dict[str, Any]) -> None:
        self.must("apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, documents)))

    def answer(self, name: str) -> str:
        """Return what a sandbox answers over HTTP right now."""
        address = self.get(f"sandbox/{name}")["status"]["address"]
        return fetch(address)

    def processes(self, name: str) -> dict[int, str]:
        """Return the sandbox's processes on the host: runsc's sandbox and gofer, and the shim."""
        uid = self.get(f"sandbox/{name}")["metadata"]["uid"]
        return {
            process.pid: process.arguments[0]
            for process in processes_with(self.run_dir.resolve() / "containerd")
            if any(uid in word for word in process.arguments)
        }

    def leftovers(self, *, of_containers: bool = False) -> Sequence[str]:
        return asyncio.run(
            leftovers(self.instance, self.state, self.run_dir, of_containers=of_containers)
        )

    def close(self) -> None:
        if self.process is not None:
            self.kill()
        remove(self.base)


def remove(base: Path) -> None:
    """Remove a server's folder, and all it has on this host."""
    state, run = base / "state", base / "run"
    if (state / "instance").exists():
        asyncio.run(purge((state / "instance").read_text().strip(), state, run))
    shutil.rmtree(base)


def fetch(address: str, *, port: int = 8080) -> str:
    with urllib.request.urlopen(f"http://{address}:{port}/", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def sandbox(name: str, **spec: Any) -> dict[str, Any]:
    container = {"image": "hello", "ports": [8080]}
    return {
        "kind": "Sandbox",
        "metadata": {"name": name},
        "spec": {"containers": [container], **spec},
    }


def running_server() -> Iterator[Server]:
    """Yield a started server that has the image `hello`; remove all of it afterwards."""
    server = Server()
    try:
        server.start()
        server.must("image", "build", str(EXAMPLES / "01-hello" / "image"))
        yield server
    finally:
        server.close()
