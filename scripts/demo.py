"""`make demo`: a real sandbox from a YAML file, step by step, in a state folder of its own.

Uses only the command line that users have. `--keep` leaves the server running (`make up`),
`--down` removes what that left (`make down`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

PROJECT = Path(__file__).resolve().parent.parent
EXAMPLE = PROJECT / "examples" / "01-hello"
MIREN = Path(sys.executable).parent / "miren"
START_TIMEOUT = 60.0

T = TypeVar("T")


class DemoFailed(Exception):
    """Says in one sentence what could not be had."""


FAILURES = (DemoFailed, OSError, subprocess.SubprocessError)


@dataclass
class Demo:
    """One run of the demo: where it keeps things, and its steps."""

    base: Path
    runtime: str
    began: float = field(default_factory=time.monotonic)
    server: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"unix://{self.base}/run/miren.sock"

    @property
    def server_options(self) -> list[str]:
        folders = ["--state-dir", f"{self.base}/state", "--run-dir", f"{self.base}/run"]
        return [*folders, "--runtime", self.runtime]

    def step(self, what: str, act: Callable[[], T]) -> T:
        """Run one step and print it with the time it took."""
        print(f"  {what:<52}", end="", flush=True)
        start = time.monotonic()
        result = act()
        print(f"{time.monotonic() - start:6.2f} s", flush=True)
        return result

    def miren(self, *words: str) -> str:
        """Run one command against the demo's server and return what it printed."""
        done = subprocess.run(
            [MIREN, *words],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            env={**os.environ, "MIREN_SERVER": self.address},
        )
        if done.returncode != 0:
            raise DemoFailed(f"`miren {' '.join(words)}` failed: {done.stderr.strip()}")
        return done.stdout

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.base.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.base / "server.log").open("ab") as log:
            self.server = subprocess.Popen(
                [MIREN, "server", *self.server_options],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        (self.base / "server.pid").write_text(str(self.server.pid))
        deadline = time.monotonic() + START_TIMEOUT
        while "is not running" in self.miren("version"):
            if self.server.poll() is not None or time.monotonic() > deadline:
                raise DemoFailed(f"the server did not start: {self._last_words()}")
            time.sleep(0.05)

    def _last_words(self) -> str:
        lines = (self.base / "server.log").read_text().strip().splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        return (errors or lines or ["it said nothing"])[-1].removeprefix("error: ")

    def ask(self) -> str:
        """Return what the sandbox answers over HTTP."""
        document = json.loads(self.miren("get", "sandbox/hello", "-o", "json"))
        url = f"http://{document['status']['address']}:8080/"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def stop(self) -> None:
        """Stop the server, and wait until it is gone."""
        pid_file = self.base / "server.pid"
        if self.server is not None:
            self.server.terminate()
            self.server.wait(timeout=30)
        elif pid_file.exists():
            _terminate(int(pid_file.read_text()))
        pid_file.unlink(missing_ok=True)

    def purge(self) -> None:
        """Remove everything the demo has on this host."""
        if (self.base / "state").exists():
            self.miren("server", "purge", "--data", *self.server_options)
        shutil.rmtree(self.base, ignore_errors=True)

    def clean(self) -> None:
        """Stop and remove what an earlier run left, however it ended."""
        self.stop()
        self.purge()


def _terminate(pid: int) -> None:
    """End a server of an earlier run, if that process still is one."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except FileNotFoundError:
        return
    if b"server" not in words:
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            raise DemoFailed(f"the server of an earlier run, process {pid}, does not end")
        time.sleep(0.05)


def choose_runtime() -> str:
    """Return `containerd` where it can work; else say why not, and `process`."""
    if os.geteuid() != 0:
        why = "this is not root"
    else:
        found = {name: shutil.which(name) for name in ("containerd", "runsc", "nft")}
        missing = [name for name, path in found.items() if path is None]
        if not missing:
            return "containerd"
        why = f"{', '.join(missing)} not found"
    print(f"{why}: running on the `process` runtime, which isolates nothing")
    return "process"


def run(demo: Demo, *, keep: bool) -> None:
    """Go through all steps."""
    demo.step("clean up after earlier runs", demo.clean)
    demo.step(f"start the server ({demo.runtime})", demo.start)
    demo.step(
        "build the image from examples/01-hello/image",
        lambda: demo.miren("image", "build", str(EXAMPLE / "image")),
    )
    demo.step(
        "miren apply -f examples/01-hello/sandbox.yaml",
        lambda: demo.miren("apply", "-f", str(EXAMPLE / "sandbox.yaml")),
    )
    demo.step(
        "miren wait sandbox/hello --for condition=Ready",
        lambda: demo.miren("wait", "sandbox/hello", "--for", "condition=Ready"),
    )
    answer = demo.step("ask it over HTTP", demo.ask)
    table = demo.miren("get", "sandboxes")
    if demo.runtime == "containerd" and "Linux version 4.4.0" not in answer:
        raise DemoFailed(f"the answer did not come from inside gVisor: {answer!r}")
    if not keep:
        demo.step("miren delete sandbox hello", lambda: demo.miren("delete", "sandbox", "hello"))
        demo.step("stop the server and remove all it had", demo.clean)
    print(f"\n$ miren get sandboxes\n{table}\n$ curl http://<address>:8080/\n{answer}")
    print(f"done in {time.monotonic() - demo.began:.1f} s; next:")
    if keep:
        print(f"  export MIREN_SERVER={demo.address} PATH={MIREN.parent}:$PATH")
        print("  miren describe sandbox hello")
        print("  miren logs -f hello")
        print("  make down")
    else:
        print("  make up        the same, and leave it running to play with")
        greeter = "examples/02-controller-class/greeter.py"
        print(f"  .venv/bin/python {greeter}        a controller of your own")
        print("  make test      every check and every test")


def _folder() -> Path:
    """Return the demo's own place, the same each time, so that a run finds what the last left."""
    if "MIREN_DEMO_DIR" in os.environ:
        return Path(os.environ["MIREN_DEMO_DIR"])
    if os.geteuid() == 0:
        return Path("/var/lib/miren-demo")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "miren-demo"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return 1 with one sentence when something cannot be had."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--down", action="store_true")
    options = parser.parse_args(arguments)
    demo = Demo(_folder(), choose_runtime())
    try:
        if options.down:
            demo.step("stop the server and remove all it had", demo.clean)
        else:
            run(demo, keep=options.keep)
    except FAILURES as error:
        print(f"\nmiren demo: {error}", file=sys.stderr)
        if not options.down:
            clean_after(demo)
        return 1
    return 0


def clean_after(demo: Demo) -> None:
    """Clean up after a failure, which may well make that fail too."""
    try:
        demo.clean()
    except FAILURES as error:
        print(f"miren demo: {demo.base} could not be removed: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
