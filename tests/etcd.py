"""Real etcd processes for tests: one, or a cluster of three, each of which can be hurt.

Everything of one test run lies in one folder, on a memory file system where there is one, because
etcd flushes at every write and a test needs no disk that survives. Members listen on unix sockets
there, so no two runs ever fight for a port; TLS has a loopback port. The kernel ends each process
together with the thread that started it (`setpriv --pdeathsig`), so start members from the main
thread only. The folders of runs that were killed are removed by the next one.

Leases of etcd last at least one and a half election timeouts, and whole seconds: short elections
make for short leases. The members' logs are shown when one does not come up.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.certificates import Authority, Identity
from tests.faults.proxy import Proxy, running_proxy
from tests.folders import abandoned, claim
from tests.servers import free_port, wait_until

__all__ = [
    "ALONE",
    "TOGETHER",
    "Cluster",
    "Encrypted",
    "Member",
    "Partition",
    "Timing",
    "running_cluster",
    "running_encrypted_etcd",
    "running_etcd",
    "running_partition",
]

_SORT = "mvetcd"
_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Timing:
    """How often a leader speaks and how long members wait for it, in milliseconds."""

    heartbeat: int
    election: int


#: One member elects itself: nothing can be late.
ALONE = Timing(heartbeat=10, election=50)

#: On a machine of two loaded cores, three members with less unseat leaders that are well.
TOGETHER = Timing(heartbeat=50, election=500)


class Member:
    """One etcd process. Killed and started again, it has the same data and the same address."""

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        peers: Sequence[str] = (),
        timing: Timing = ALONE,
        client_url: str = "",
        arguments: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.folder = folder
        self.endpoint = client_url or f"unix://{folder}/{name}.sock:0"
        self._log = folder / f"{name}.log"
        names = peers or (name,)
        self._command = [
            *("setpriv", "--pdeathsig", "KILL", "etcd", "--name", name),
            *("--data-dir", f"{name}.data"),
            *("--listen-client-urls", client_url or f"unix://{name}.sock:0"),
            *("--advertise-client-urls", client_url or f"unix://{name}.sock:0"),
            *("--listen-peer-urls", f"unix://{name}.peer:0"),
            *("--initial-advertise-peer-urls", f"unix://{name}.peer:0"),
            *("--initial-cluster", ",".join(f"{each}=unix://{each}.peer:0" for each in names)),
            *("--listen-metrics-urls", f"unix://{name}.metrics:0"),
            *("--heartbeat-interval", str(timing.heartbeat)),
            *("--election-timeout", str(timing.election)),
            *("--logger", "zap", "--log-outputs", "stderr", "--log-level", "warn"),
            *arguments,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """The unix socket of its clients, unless it was given another address."""
        return self.folder / f"{self.name}.sock:0"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; it answers after `wait_ready`."""
        assert not self.is_running
        # etcd binds its sockets as they are; what a killed one left is in the way.
        for stale in self.folder.glob(f"{self.name}.*:0"):
            stale.unlink()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """End it with SIGKILL, now."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Stop it where it is (SIGSTOP): connections stay, nothing answers."""
        self._signal(signal.SIGSTOP)
        # The signal is on its way; what came before it is still answered.
        assert self._process is not None
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Let it run on after `pause`."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill it, start it over its data, and wait until it answers."""
        self.kill()
        self.start()
        self.wait_ready()

    def wait_ready(self, within: float = 20.0) -> None:
        """Wait until it answers a linearizable read, for which it needs a leader."""
        try:
            wait_until(self.is_healthy, within=within, told=f"{self.name} is healthy")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from error

    async def until_ready(self, within: float = 20.0) -> None:
        """Do what `wait_ready` does and let the loop run."""
        await asyncio.to_thread(self.wait_ready, within)

    def is_healthy(self) -> bool:
        """Return whether it answers; False too when it has ended."""
        assert self.is_running, f"{self.name} ended\n{self.log()}"
        text = self._ask("/health")
        return bool(text) and json.loads(text).get("health") == "true"

    def is_leader(self) -> bool:
        """Return whether it thinks that it leads."""
        return self.is_running and self.metric("etcd_server_is_leader") == 1

    def id(self) -> int:
        """Return what the cluster calls it."""
        (status,) = json.loads(self.control("endpoint", "status", "--write-out", "json"))
        return int(status["Status"]["header"]["member_id"])

    def metric(self, name: str) -> float | None:
        """Return one of its numbers by its Prometheus name, or None when it does not answer."""
        found = re.search(rf"^{name} (\S+)$", self._ask("/metrics"), re.MULTILINE)
        return float(found[1]) if found else None

    def control(self, *words: str, user: str = "", tls: Sequence[str] = ()) -> str:
        """Run etcdctl against this member and return what it printed; fail when it fails."""
        command = ["etcdctl", "--endpoints", self.endpoint, *tls]
        done = subprocess.run(
            [*command, *(("--user", user) if user else ()), *words],
            env={"PATH": os.environ["PATH"], "ETCDCTL_API": "3"},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
        return done.stdout

    def log(self) -> str:
        """Return the end of what it logged."""
        return self._log.read_text(errors="replace")[-4000:]

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _ask(self, path: str) -> str:
        """Return what the member's side door answers, or nothing."""
        connection = http.client.HTTPConnection("localhost")
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(1)
            try:
                stream.connect(str(self.folder / f"{self.name}.metrics:0"))
                connection.sock = stream
                connection.request("GET", path)
                return connection.getresponse().read().decode()
            except (OSError, http.client.HTTPException):
                return ""


@dataclass(frozen=True, slots=True)
class Encrypted:
    """An etcd that speaks TLS, who signed its certificate, and an identity that it takes."""

    member: Member
    authority: Authority
    client: Identity


class Cluster:
    """Three members that know each other."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(member.endpoint for member in self.members)

    def leader(self, within: float = 20.0) -> Member:
        """Wait until exactly one member that runs says that it leads, and return it."""

        def only() -> Member | None:
            leading = [member for member in self.members if member.is_leader()]
            return leading[0] if len(leading) == 1 else None

        found = wait_until(only, within=within, told="one leader")
        assert found is not None
        return found

    async def until_leader(self, within: float = 20.0) -> Member:
        """Do what `leader` does and let the loop run."""
        return await asyncio.to_thread(self.leader, within)

    def followers(self) -> list[Member]:
        """Return the members that run and do not lead."""
        leader = self.leader()
        return [each for each in self.members if each is not leader and each.is_running]


class Partition:
    """A cluster of three, one member of which can be cut off from the two others.

    Clients reach all of them all the time.
    """

    def __init__(self, outsider: Member, others: Sequence[Member], ways: Sequence[Proxy]) -> None:
        self.cluster = Cluster([outsider, *others])
        self.outsider = outsider
        self.others = tuple(others)
        self._ways = ways

    def cut(self) -> None:
        """Let nothing through between the outsider and the others: no one is told of it."""
        for way in self._ways:
            way.blackhole()

    def heal(self) -> None:
        """Let them hear of each other again."""
        for way in self._ways:
            way.heal()

    async def lead(self, member: Member) -> None:
        """Make a member the leader."""
        leader = await self.cluster.until_leader()
        if leader is not member:
            await asyncio.to_thread(leader.control, "move-leader", f"{member.id():x}")
            assert await self.cluster.until_leader() is member


@contextmanager
def running_etcd(
    *,
    timing: Timing = ALONE,
    client_url: str = "",
    password: str = "",
    arguments: Sequence[str] = (),
) -> Iterator[Member]:
    """Run one etcd.

    With `client_url` it listens there; with `password` it takes only users, of whom there is
    root; `arguments` tell it more.
    """
    with _folder() as folder:
        member = Member("solo", folder, timing=timing, client_url=client_url, arguments=arguments)
        with _running([member]):
            if password:
                member.control("user", "add", f"root:{password}")
                member.control("user", "grant-role", "root", "root")
                member.control("auth", "enable")
            yield member


@contextmanager
def running_encrypted_etcd(*, arguments: Sequence[str] = ()) -> Iterator[Encrypted]:
    """Run one etcd that speaks only TLS, and only with clients whom its authority vouches for."""
    with _folder() as folder:
        authority = Authority(folder)
        server, client = authority.vouch("server"), authority.vouch("client")
        files = [
            *("--cert-file", str(server.cert), "--key-file", str(server.key)),
            *("--client-cert-auth", "--trusted-ca-file", str(authority.ca)),
        ]
        url = f"https://127.0.0.1:{free_port()}"
        member = Member("solo", folder, client_url=url, arguments=[*files, *arguments])
        with _running([member]):
            yield Encrypted(member, authority, client)


@contextmanager
def running_cluster(
    *, size: int = 3, timing: Timing = TOGETHER, arguments: Sequence[str] = ()
) -> Iterator[Cluster]:
    """Run a cluster; it has a leader at the start."""
    names = [f"m{n}" for n in range(1, size + 1)]
    with _folder() as folder:
        members = [
            Member(name, folder, peers=names, timing=timing, arguments=arguments) for name in names
        ]
        with _running(members):
            cluster = Cluster(members)
            cluster.leader()
            yield cluster


@asynccontextmanager
async def running_partition(*, timing: Timing = TOGETHER) -> AsyncIterator[Partition]:
    """Run a cluster that can be parted; it has a leader at the start.

    All call each other by the same names, which are sockets beside them. So where one has a
    folder of its own, what is there by the names of the others are ways to them.
    """
    first, *rest = names = [f"m{n}" for n in range(1, 4)]
    with _folder() as folder:
        alone = folder / "alone"
        alone.mkdir()
        ends = [(alone, first, folder), *((folder, name, alone) for name in rest)]
        async with AsyncExitStack() as stack:
            ways = [
                await stack.enter_async_context(
                    running_proxy(home / f"{name}.peer:0", at=elsewhere / f"{name}.peer:0")
                )
                for home, name, elsewhere in ends
            ]
            members = [Member(name, home, peers=names, timing=timing) for home, name, _ in ends]
            for member in members:
                stack.callback(member.kill)
                member.start()
            for member in members:
                await member.until_ready()
            yield Partition(members[0], members[1:], ways)


@contextmanager
def _running(members: Sequence[Member]) -> Iterator[None]:
    with ExitStack() as stack:
        for member in members:
            stack.callback(member.kill)
            member.start()
        for member in members:
            member.wait_ready()
        yield


@contextmanager
def _folder() -> Iterator[Path]:
    within = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    for folder in abandoned(_SORT, within=within):
        shutil.rmtree(folder, ignore_errors=True)
    folder = claim(_SORT, within=within)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
