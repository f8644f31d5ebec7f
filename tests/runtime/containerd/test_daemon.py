from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from miren.base.errors import InvalidInput, RuntimeFailure
from miren.base.processes import is_alive, wait_ended
from miren.runtime.containerd.client import Containers
from miren.runtime.containerd.connection import Connection
from miren.runtime.containerd.daemon import ContainerdDaemon
from tests.runtime.containerd.conftest import Instance, new_instance
from tests.runtime.containerd.sandboxes import DEADLINE, eventually


def test_a_run_folder_too_deep_for_a_socket_is_refused_with_a_sentence(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 30)
    with pytest.raises(InvalidInput, match="107 bytes") as refused:
        ContainerdDaemon(tmp_path, deep)
    assert refused.value.hint == "choose a shorter run_dir"


@pytest.mark.host
class TestRunning:
    async def test_it_answers_on_its_own_socket(self, instance: Instance) -> None:
        connection = Connection(instance.daemon().socket)
        try:
            assert await Containers(connection).version()
        finally:
            await connection.close()

    async def test_a_running_one_is_adopted_and_left_running(self, instance: Instance) -> None:
        async with instance.daemon() as first:
            pid = first.pid()
        async with instance.daemon() as second:
            assert second.pid() == pid
        assert pid is not None
        assert is_alive(pid)

    async def test_it_leads_a_session_of_its_own(self, instance: Instance) -> None:
        pid = instance.daemon().pid()
        assert pid is not None
        assert os.getsid(pid) == pid

    async def test_it_is_started_again_each_time_it_dies(self, instance: Instance) -> None:
        async with instance.daemon() as daemon:
            for _ in range(3):
                pid = daemon.pid()
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                await wait_ended(pid)
                await eventually(lambda: answers(daemon))

    async def test_one_that_hangs_is_replaced(self, instance: Instance) -> None:
        daemon = ContainerdDaemon(instance.state_dir, instance.run_dir, ready_within=1.0)
        pid = daemon.pid()
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        async with asyncio.timeout(DEADLINE):
            assert await daemon.start() != pid

    async def test_stopping_it_twice_is_fine(self, instance: Instance) -> None:
        daemon = instance.daemon()
        await daemon.stop()
        await daemon.stop()
        assert daemon.pid() is None
        await daemon.start()


@pytest.mark.host
async def test_one_that_cannot_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    instance = new_instance()
    daemon = instance.daemon()
    daemon.places.root.mkdir(parents=True)
    (daemon.places.root / "data").write_text("where a folder should be")
    try:
        with pytest.raises(RuntimeFailure, match="not a directory"):
            await daemon.start()
        assert daemon.pid() is None
    finally:
        await instance.remove()


async def answers(daemon: ContainerdDaemon) -> bool:
    connection = Connection(daemon.socket)
    try:
        return bool(await Containers(connection).version())
    except Exception:
        return False
    finally:
        await connection.close()
