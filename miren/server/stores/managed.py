"""A private etcd, for a server that wants one without running a cluster.

It listens on unix sockets in a folder that only the server's user may enter, so nobody else on the
machine reaches it, and it takes no port. It outlives the server, as containerd does, and is
adopted by the next one. It is known by its data folder, which is on its command line.

etcd cannot go back behind a minor version. So the version that last ran is noted beside the data,
data of a newer one is refused, and the folder is copied before a newer one first opens it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from miren.base.daemons import LONGEST_SOCKET, Daemon
from miren.base.errors import DeadlineExceeded, InvalidInput, RuntimeFailure
from miren.base.processes import processes, search_path, spawn, terminate

__all__ = ["MEMBER", "PEER_URL", "ManagedEtcd", "pids_of", "run_tool", "stop_all"]

log = logging.getLogger(__name__)

#: etcd takes unix sockets only relative to its working folder, and calls the file `name:port`.
PEER_URL = "unix://peer.sock:0"
MEMBER = "miren"

_CLIENT_URL = "unix://etcd.sock:0"
_OLDEST = (3, 4, 23)
_QUOTA_BYTES = 8 * 1024**3
_LONGEST_LOG = 16 * 1024**2

_OPTIONS = {
    "name": MEMBER,
    "listen-client-urls": _CLIENT_URL,
    "advertise-client-urls": _CLIENT_URL,
    "listen-peer-urls": PEER_URL,
    "initial-advertise-peer-urls": PEER_URL,
    "initial-cluster": f"{MEMBER}={PEER_URL}",
    # It elects itself; all that waiting for longer would do is to start later.
    "heartbeat-interval": "50",
    "election-timeout": "250",
    "auto-compaction-mode": "periodic",
    "auto-compaction-retention": "1h",
    # As many keys as a transaction of ours may change, and a request of the largest we accept.
    "max-txn-ops": "65535",
    "max-request-bytes": str(10 * 1024**2),
    "snapshot-count": "10000",
    "logger": "zap",
    "log-outputs": "stderr",
    "log-level": "warn",
}


class ManagedEtcd(Daemon):
    """The etcd of a state folder, on the data folder `place` in it; `endpoint` is where it serves.

    Entering raises RuntimeFailure when etcd is missing, too old for us, or older than the data.
    """

    name = "etcd"

    def __init__(
        self,
        state_dir: Path,
        run_dir: Path,
        place: str,
        *,
        quota_bytes: int = _QUOTA_BYTES,
        ready_within: float = 60.0,
    ) -> None:
        self.root = state_dir / "etcd"
        self.data = self.root / place
        self._run = run_dir / "etcd"
        self._quota_bytes = quota_bytes
        self._version = ""
        super().__init__(
            self._run / "etcd.sock:0", self.root / "etcd.log", ready_within=ready_within
        )
        if len(os.fsencode(self.socket)) > LONGEST_SOCKET:
            raise InvalidInput(
                f"the path {self.socket} has over {LONGEST_SOCKET} bytes, too many for a socket",
                hint="choose a shorter run_dir",
            )

    @property
    def endpoint(self) -> str:
        """The address of the socket, for clients."""
        return f"unix://{self.socket}"

    def pid(self) -> int | None:
        """Return the running daemon's process id, whoever started it."""
        for pid in pids_of(self.data):
            with contextlib.suppress(FileNotFoundError):  # it ended while we looked
                # With another run folder it listens elsewhere.
                if Path("/proc", str(pid), "cwd").samefile(self._run):
                    return pid
        return None

    async def _prepare(self) -> None:
        # Whatever was left running on another data folder holds the same sockets.
        await stop_all(self.root)
        for folder in (self.root, self._run):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        self._version = await _installed_version()
        await asyncio.to_thread(_make_ready, self.data, self._version)
        if self.log.exists() and self.log.stat().st_size > _LONGEST_LOG:
            self.log.replace(self.log.with_name("etcd.log.old"))

    def _spawn(self) -> int:
        for name in ("etcd.sock:0", "peer.sock:0"):
            (self._run / name).unlink(missing_ok=True)
        options = {
            **_OPTIONS,
            "data-dir": str(self.data),
            "quota-backend-bytes": str(self._quota_bytes),
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        # Nothing of ours goes in: etcd would take every ETCD_ variable for an option.
        environment = {"PATH": search_path()}
        if platform.machine() == "aarch64":
            environment["ETCD_UNSUPPORTED_ARCH"] = "arm64"  # which 3.4 asks for
        command = [_program("env"), "-C", str(self._run), _program("etcd"), *words]
        pid = spawn(command, environment, log=self.log)
        _version_file(self.data).write_text(self._version + "\n")
        return pid

    async def _is_ready(self) -> bool:
        try:
            async with asyncio.timeout(5.0):
                reader, writer = await asyncio.open_unix_connection(str(self.socket))
                try:
                    writer.write(b"GET /metrics HTTP/1.0\r\nHost: etcd\r\n\r\n")
                    answer = await reader.read(-1)
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
        # `/health` also says no when there is an alarm, and an alarm is no reason to kill it.
        return b"\netcd_server_has_leader 1\n" in answer


def pids_of(folder: Path) -> Iterator[int]:
    """Yield this user's etcd processes whose data folder is `folder`, or is in it."""
    wanted = f"--data-dir={folder}"
    for process in processes():
        if process.program != "etcd":
            continue
        named = [word for word in process.arguments if word.startswith("--data-dir=")]
        if any(word == wanted or word.startswith(f"{wanted}/") for word in named):
            try:
                owner = Path("/proc", str(process.pid)).stat().st_uid
            except FileNotFoundError:
                continue  # it ended while we looked
            if owner == os.geteuid():
                yield process.pid


async def stop_all(folder: Path) -> int:
    """End the etcds whose data lies in `folder`; return how many there were."""
    found = list(pids_of(folder))
    for pid in found:
        await terminate(pid, grace=10.0)
    return len(found)


async def run_tool(words: Sequence[str], *, within: float) -> str:
    """Run one of etcd's programs and return what it printed, errors included.

    Raises RuntimeFailure when it is missing or fails, DeadlineExceeded when it takes too long.
    """
    name = words[0]
    process = await asyncio.create_subprocess_exec(
        _program(name),
        *words[1:],
        env={"PATH": search_path(), "ETCDCTL_API": "3"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(within):
            out, _ = await process.communicate()
    except TimeoutError:
        raise DeadlineExceeded(f"{name} did not end within {within:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = out.decode(errors="replace").strip()
    if process.returncode:
        last = said.rpartition("\n")[2][:300]
        raise RuntimeFailure(f"{name} ended with {process.returncode}: {last or 'silently'}")
    return said


async def _installed_version() -> str:
    said = await run_tool(["etcd", "--version"], within=30.0)
    found = re.search(r"etcd Version: (\d+\.\d+\.\d+)", said)
    if found is None:
        raise RuntimeFailure(f"etcd --version says {said[:100]!r}")
    if _numbers(found[1]) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise RuntimeFailure(f"etcd {found[1]} is too old", hint=f"install {oldest} or newer")
    return found[1]


def _make_ready(data: Path, version: str) -> None:
    """Refuse data that this version would not open; keep a copy of what it would convert."""
    try:
        last = _version_file(data).read_text().strip()
    except FileNotFoundError:
        return
    if not data.exists() or _numbers(last)[:2] == _numbers(version)[:2]:
        return
    if _numbers(last) > _numbers(version):
        raise RuntimeFailure(
            f"etcd {last} wrote {data}, and the one installed is {version}",
            hint=f"install etcd {last} or newer",
        )
    kept = data.with_name(f"{data.name}.etcd-{last}")
    if not kept.exists():
        partial = kept.with_name(kept.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(data, partial)
        partial.rename(kept)
    log.info("etcd is newer than its data", extra={"before": last, "now": version, "kept": kept})


def _version_file(data: Path) -> Path:
    return data.with_name(data.name + ".version")


def _numbers(version: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version.split("."))
    except ValueError:
        raise RuntimeFailure(f"{version!r} is no version of etcd") from None


def _program(name: str) -> str:
    found = shutil.which(name, path=search_path())
    if found is None:
        package = "etcd-client" if name in ("etcdctl", "etcdutl") else "etcd-server"
        raise RuntimeFailure(f"{name} is not installed", hint=f"apt-get install {package}")
    return found
