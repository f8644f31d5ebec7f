"""A real `miren server` for black-box tests, commands against it, and raw HTTP on its socket.

It runs the process runtime, in a short folder of its own: a unix socket's path is limited, and
pytest's temporary folders are too deep for it. A run that is killed cannot clean up, so each
notes its process and its server, and the next one cleans up for those that are gone.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, TypeVar

import pytest

from miren.cli.main import main
from miren.server.config import load
from miren.server.purge import purge
from tests.folders import abandoned, claim

MIREN = str(Path(sys.executable).parent / "miren")
EXAMPLE = Path(__file__).parent.parent / "examples" / "01-hello"
ENTITIES = "miren.entities.v1.Entities"

SORT = "mvcli"

T = TypeVar("T")


def wait_until(look: Callable[[], T], *, within: float = 30.0, told: str = "") -> T:
    """Return the first true value of `look`; fail when there is none in time."""
    deadline = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{told} not within {within:g} s, last: {found!r}"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def run_miren(*words: str | Path, stdin: str = "", **environment: str) -> Done:
    done = subprocess.run(
        [MIREN, *map(str, words)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "error", **environment},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


class Captured(TextIOWrapper):
    """What a command that runs in this process reads, or writes."""

    def __init__(self, text: str = "") -> None:
        super().__init__(BytesIO(text.encode()), encoding="utf-8")

    @property
    def text(self) -> str:
        self.seek(0)
        return self.read()


def call_main(*words: str | Path, stdin: str = "", **environment: str) -> Done:
    """Run a command as `run_miren` does, but in this process: many times as fast.

    Without a server's address there is none. What is about processes, such as exit, signals,
    encodings and `PYTHONPATH`, takes one of its own.
    """
    out, err = Captured(), Captured()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"MIREN_SERVER": "unix:///nowhere", **environment}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdin", Captured(stdin))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        code = main([str(word) for word in words])
    return Done(code, out.text, err.text)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float = 20.0) -> None:
        super().__init__("server", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True)
class Answer:
    """One HTTP response, read whole."""

    status: int
    type: str
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


class Messages:
    """A stream being read: its messages one by one, heartbeats left out."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while line := self.response.readline():
            message = json.loads(line)
            if message:
                yield message

    def next(self) -> dict[str, Any]:
        return next(iter(self))

    def until(self, type: str) -> list[dict[str, Any]]:
        """Return the messages up to and with the first of that type."""
        found = []
        for message in self:
            found.append(message)
            if message["type"] == type:
                return found
        raise AssertionError(f"the stream ended without a {type}: {found}")


@dataclass
class Server:
    """A running server."""

    base: Path
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        return self.base / "run" / "miren.sock"

    @property
    def address(self) -> str:
        return f"unix://{self.socket}"

    @property
    def log(self) -> str:
        return (self.base / "server.log").read_text()

    def cli(self, *words: str | Path, stdin: str = "") -> Done:
        return call_main(*words, stdin=stdin, MIREN_SERVER=self.address)

    def run(self, *words: str | Path, stdin: str = "") -> Done:
        """Do the same in a process of its own."""
        return run_miren(*words, stdin=stdin, MIREN_SERVER=self.address)

    def popen(self, *words: str) -> subprocess.Popen[str]:
        """Start a command that goes on by itself, such as a watch."""
        return subprocess.Popen(
            [MIREN, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "MIREN_SERVER": self.address},
        )

    def http(
        self, verb: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = UnixConnection(self.socket)
        try:
            connection.request(verb, target, body, dict(headers or {}))
            response = connection.getresponse()
            kind = response.getheader("Content-Type", "").partition(";")[0]
            return Answer(response.status, kind, response.read())
        finally:
            connection.close()

    def call(self, method: str, /, service: str = ENTITIES, **message: Any) -> Answer:
        """Call a method with these attributes; `for_` stands for `for`."""
        message = {name.rstrip("_"): value for name, value in message.items()}
        return self.http("POST", f"/{service}/{method}", json.dumps(message).encode())

    def ok(self, method: str, /, **message: Any) -> dict[str, Any]:
        answer = self.call(method, **message)
        assert answer.status == 200, answer.body
        return answer.json

    def make_project(self, name: str) -> None:
        """Make a project, unless it is there."""
        document = {"kind": "Project", "metadata": {"name": name}}
        self.ok("Apply", document=document)

    @contextmanager
    def stream(
        self, method: str, /, service: str = ENTITIES, timeout_ms: int = 0, **message: Any
    ) -> Iterator[Messages]:
        connection = UnixConnection(self.socket)
        headers = {"Connect-Timeout-Ms": str(timeout_ms)} if timeout_ms else {}
        try:
            connection.request(
                "POST", f"/{service}/{method}", json.dumps(message).encode(), headers
            )
            response = connection.getresponse()
            assert response.status == 200, response.read()
            yield Messages(response)
        finally:
            connection.close()

    def connections(self) -> int:
        """Return how many connections the server has open (proc(5), /proc/net/unix)."""
        connected, path = "03", str(self.socket)
        lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
        return sum(len(line) == 8 and line[5] == connected and line[7] == path for line in lines)

    def assert_sound(self) -> None:
        """Fail when something is to repair in the store."""
        answer = self.call("Fsck", service="miren.server.v1.Server")
        assert answer.status == 200, answer.body
        assert not answer.json["problems"], answer.json["problems"]

    def start(self, *options: str) -> None:
        """Start it again, over what the one before left."""
        assert self.process.poll() is not None
        arguments = [*_folders(self.base), *options]
        with (self.base / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [MIREN, "server", *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        wait_until(lambda: _answers(self), within=30)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait(timeout=20)

    def local(self, *words: str | Path, stdin: str = "") -> Done:
        """Run a command that works in the server's place, on its folders."""
        return call_main(*words, *_folders(self.base)[:4], stdin=stdin)

    def stop(self) -> float:
        """End it with SIGTERM; return the seconds that took."""
        start = time.monotonic()
        self.process.terminate()
        assert self.process.wait(timeout=20) == 0, self.log
        return time.monotonic() - start


@contextmanager
def running_server(*options: str) -> Iterator[Server]:
    """Run a server, and remove everything it had."""
    for folder in abandoned(SORT):
        _purge(folder)
    base = claim(SORT)
    arguments = [*_folders(base), *options]
    with (base / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [MIREN, "server", *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    server = Server(base, process)
    try:
        wait_until(lambda: _answers(server), within=30)
        yield server
        if server.process.poll() is None:
            server.assert_sound()
    finally:
        if server.process.poll() is None:
            server.process.terminate()
            try:
                server.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()
        _purge(base)


def _folders(base: Path) -> list[str]:
    return ["--state-dir", f"{base}/state", "--run-dir", f"{base}/run", "--runtime", "process"]


def _purge(base: Path) -> None:
    # What `miren server purge --data` does; it has a process of its own where it is tested.
    flags = {"server.state_dir": f"{base}/state", "server.run_dir": f"{base}/run"}
    asyncio.run(purge(load(None, flags=flags | {"runtime.adapter": "process"}), data=True))
    shutil.rmtree(base)


def _answers(server: Server) -> bool:
    assert server.process.poll() is None, server.log
    try:
        return server.http("GET", "/healthz").status == 200
    except (FileNotFoundError, ConnectionRefusedError):
        return False


def sandbox(name: str, *, port: int | None = None, **metadata: Any) -> dict[str, Any]:
    """Return a document of a sandbox; without a port it runs no server and only sleeps."""
    container: dict[str, Any] = {"image": "hello", "command": ["sleep", "1000"]}
    if port is not None:
        container = {
            "image": "hello",
            "command": ["sh", "-c", 'echo one; echo two; exec httpd -f -p "$PORT" -h www'],
            "env": {"PORT": str(port)},
            "ports": [port],
        }
    return {
        "apiVersion": "miren.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"name": name, **metadata},
        "spec": {"containers": [container], "gracePeriod": "100ms"},
    }


def disk(name: str, size: str = "1Gi", **metadata: Any) -> dict[str, Any]:
    """Return a document of a disk."""
    return {
        "apiVersion": "miren.dev/v1alpha1",
        "kind": "Disk",
        "metadata": {"name": name, **metadata},
        "spec": {"size": size},
    }
