"""The etcd that a server runs itself."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from miren.base.errors import InvalidInput, OutcomeUnknown, RuntimeFailure, StoreFull
from miren.base.processes import is_alive, wait_ended
from miren.entities.store.api import Put, Store
from miren.entities.store.etcd.store import EtcdStore
from miren.server.stores import managed
from miren.server.stores.managed import ManagedEtcd, pids_of, run_tool, stop_all
from tests.folders import abandoned, claim
from tests.servers import wait_until

SORT = "mvown"


@pytest.fixture
async def base() -> AsyncIterator[Path]:
    """Return a short folder; whatever etcd works in it ends with the test."""
    for old in abandoned(SORT):
        await stop_all(old / "state" / "etcd")
        shutil.rmtree(old)
    folder = claim(SORT)
    yield folder
    await stop_all(folder / "state" / "etcd")
    shutil.rmtree(folder)


def at(base: Path, place: str = "data", **options: float) -> ManagedEtcd:
    return ManagedEtcd(base / "state", base / "run", place, **options)  # type: ignore[arg-type]  # numbers


async def control(daemon: ManagedEtcd, *words: str) -> str:
    return await run_tool(["etcdctl", f"--endpoints={daemon.endpoint}", *words], within=20)


async def fill(store: Store) -> None:
    for number in range(4000):
        await store.transact([], [Put(f"/k{number % 40}", b"x" * 100_000)])


async def test_it_keeps_what_it_was_given_and_outlives_us(base: Path) -> None:
    async with at(base) as daemon:
        await control(daemon, "put", "a", "1")
        pid = daemon.pid()
    assert pid is not None
    assert is_alive(pid)
    assert os.getsid(pid) == pid
    async with at(base) as again:
        assert again.pid() == pid
        assert await control(again, "get", "a", "--print-value-only") == "1"
    await again.stop()
    assert not is_alive(pid)
    assert again.pid() is None


async def test_nobody_else_of_the_machine_reaches_it(base: Path) -> None:
    async with at(base) as daemon:
        for folder in (daemon.socket.parent, daemon.root, daemon.data):
            assert folder.stat().st_mode & 0o777 == 0o700
        assert daemon.log.stat().st_mode & 0o777 == 0o600
        pid = daemon.pid()
        inodes = {
            link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.exists()
        }
        for table in ("tcp", "tcp6", "udp", "udp6"):
            lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
            assert not {f"socket:[{line.split()[9]}]" for line in lines} & inodes


async def test_it_is_started_again_each_time_it_dies_and_forgets_nothing(base: Path) -> None:
    async with at(base) as daemon:
        for number in range(2):
            await control(daemon, "put", f"k{number}", "v")
            pid = daemon.pid()
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await wait_ended(pid)
            await asyncio.to_thread(wait_until, lambda old=pid: daemon.pid() not in (None, old))
            async with asyncio.timeout(20):
                await daemon.start()
        keys = await control(daemon, "get", "k", "--prefix", "--keys-only")
        assert keys.split() == ["k0", "k1"]


async def test_one_that_hangs_is_replaced(base: Path) -> None:
    async with at(base) as daemon:
        pid = daemon.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    async with at(base, ready_within=1.0) as daemon:
        assert not is_alive(pid)
        assert daemon.pid() not in (None, pid)


async def test_one_on_another_folder_of_ours_makes_way(base: Path) -> None:
    async with at(base) as old:
        pid = old.pid()
    assert pid is not None
    async with at(base, "data-new") as daemon:
        assert not is_alive(pid)
        assert list(pids_of(base / "state" / "etcd")) == [daemon.pid()]


async def test_what_only_looks_like_it_is_left_alone(base: Path) -> None:
    elsewhere, data = base / "else", base / "state" / "etcd" / "data"
    elsewhere.mkdir()
    nap = "import time; time.sleep(100)"
    strangers = [
        ("etcd", f"--data-dir={elsewhere}"),
        ("etcd", f"--data-dir={base}/state/etcd2"),
        ("not-etcd", f"--data-dir={data}"),
        ("etcd", f"--wal-dir={data}"),
    ]
    running = [
        subprocess.Popen([name, "-c", nap, word], executable=sys.executable)
        for name, word in strangers
    ]
    try:
        async with at(base) as daemon:
            assert list(pids_of(base / "state" / "etcd")) == [daemon.pid()]
            await daemon.stop()
        assert await stop_all(base / "state" / "etcd") == 0
        assert all(process.poll() is None for process in running)
    finally:
        for process in running:
            process.kill()
            process.wait()


async def test_one_that_cannot_start_is_reported_with_its_last_words(base: Path) -> None:
    (base / "state" / "etcd" / "data" / "member" / "snap").mkdir(parents=True)
    (base / "state" / "etcd" / "data" / "member" / "snap" / "db").write_bytes(b"no database")
    with pytest.raises(RuntimeFailure, match=r"etcd does not answer on .*: .+") as caught:
        await at(base).start()
    assert caught.value.hint == f"see {base}/state/etcd/etcd.log"
    assert at(base).pid() is None


async def test_leftover_sockets_are_no_obstacle(base: Path) -> None:
    (base / "run" / "etcd").mkdir(parents=True)
    for name in ("etcd.sock:0", "peer.sock:0"):
        (base / "run" / "etcd" / name).write_bytes(b"")
    async with at(base) as daemon:
        assert await control(daemon, "get", "a") == ""


async def test_a_full_one_says_so_and_goes_on_once_there_is_room(base: Path) -> None:
    quota = 32 * 1024**2
    async with at(base, quota_bytes=quota) as daemon, EtcdStore([daemon.endpoint]) as store:
        # Of the write that raises the alarm nobody knows; the next ones are refused.
        with pytest.raises((StoreFull, OutcomeUnknown)):
            await fill(store)
        with pytest.raises(StoreFull):
            await fill(store)
        assert any("NOSPACE" in alarm for alarm in (await store.status()).alarms)
        # An alarm is no reason to take it for one that hangs.
        async with at(base, quota_bytes=quota, ready_within=5) as again:
            assert again.pid() == daemon.pid()
        assert await store.get("/k1")
        await store.compact((await store.status()).revision)
        await store.defragment()
        assert not (await store.status()).alarms
        await store.transact([], [Put("/k1", b"there is room")])


def test_a_run_folder_too_deep_for_a_socket_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="107 bytes"):
        ManagedEtcd(tmp_path, tmp_path / ("deep" * 30), "data")


class TestVersions:
    """What is noted of the etcd that ran last, and what a change of it means."""

    @pytest.fixture
    async def data(self, base: Path) -> Path:
        async with at(base) as daemon:
            await control(daemon, "put", "a", "1")
            await daemon.stop()
        return daemon.data

    async def test_the_one_that_ran_is_noted(self, data: Path) -> None:
        said = await run_tool(["etcd", "--version"], within=20)
        assert data.with_name("data.version").read_text().strip() in said

    async def test_data_of_a_newer_minor_version_is_refused(self, base: Path, data: Path) -> None:
        data.with_name("data.version").write_text("99.1.0\n")
        with pytest.raises(RuntimeFailure, match=r"etcd 99\.1\.0 wrote .*data") as caught:
            await at(base).start()
        assert caught.value.hint == "install etcd 99.1.0 or newer"

    async def test_the_data_is_copied_before_a_newer_one_opens_it(
        self, base: Path, data: Path
    ) -> None:
        data.with_name("data.version").write_text("3.3.9\n")
        async with at(base) as daemon:
            assert await control(daemon, "get", "a", "--print-value-only") == "1"
            await daemon.stop()
        copy = data.with_name("data.etcd-3.3.9")
        before = {path.relative_to(copy) for path in copy.rglob("*")}
        assert Path("member/snap/db") in before
        async with at(base, copy.name) as old:
            assert await control(old, "get", "a", "--print-value-only") == "1"

    async def test_one_that_is_too_old_is_refused(
        self, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(managed, "_OLDEST", (99, 0, 0))
        with pytest.raises(RuntimeFailure, match="too old") as caught:
            await at(base).start()
        assert caught.value.hint == "install 99.0.0 or newer"

    async def test_a_missing_one_is_named(
        self, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(managed, "search_path", lambda: "/nonexistent")
        with pytest.raises(RuntimeFailure, match="etcd is not installed") as caught:
            await at(base).start()
        assert caught.value.hint == "apt-get install etcd-server"


async def test_a_log_that_is_long_is_put_aside(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at(base) as daemon:
        await daemon.stop()
    monkeypatch.setattr(managed, "_LONGEST_LOG", 3)
    daemon.log.write_text("long")
    async with at(base):
        wait_until(lambda: daemon.log.with_name("etcd.log.old").read_text() == "long")
