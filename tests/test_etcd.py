"""The etcd processes that other tests rest on come up, can be hurt, and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.etcd import Cluster, Member, running_cluster, running_encrypted_etcd, running_etcd
from tests.servers import wait_until


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


def put(member: Member, key: str, value: str, user: str = "") -> None:
    assert member.control("put", key, value, user=user) == "OK\n"


def test_a_killed_member_keeps_what_it_acknowledged_and_its_address(shared_etcd: Member) -> None:
    put(shared_etcd, "/kept", "1")
    shared_etcd.kill()
    assert not shared_etcd.is_running
    shared_etcd.start()
    shared_etcd.wait_ready()
    assert shared_etcd.control("get", "/kept") == "/kept\n1\n"


def test_a_paused_member_answers_nothing_until_it_is_resumed(shared_etcd: Member) -> None:
    shared_etcd.pause()
    assert shared_etcd.metric("etcd_server_has_leader") is None
    shared_etcd.resume()
    shared_etcd.wait_ready()
    assert shared_etcd.metric("etcd_server_has_leader") == 1


def test_a_password_keeps_strangers_out() -> None:
    with running_etcd(password="secret") as member:
        put(member, "/a", "1", user="root:secret")
        with pytest.raises(AssertionError, match="user name is empty"):
            put(member, "/a", "2")
        member.restart()
        assert member.control("get", "/a", user="root:secret") == "/a\n1\n"


def test_an_encrypted_one_takes_only_whom_its_authority_vouches_for() -> None:
    with running_encrypted_etcd() as etcd:
        trust = ["--cacert", str(etcd.authority.ca)]
        client = ["--cert", str(etcd.client.cert), "--key", str(etcd.client.key)]
        assert etcd.member.control("put", "/a", "1", tls=[*trust, *client]) == "OK\n"
        with pytest.raises(AssertionError):
            etcd.member.control("put", "/a", "2", "--command-timeout", "1s", tls=trust)


def test_a_cluster_gets_another_leader_when_it_loses_one(cluster: Cluster) -> None:
    first = cluster.leader()
    put(first, "/a", "1")
    first.kill()
    second = cluster.leader()
    assert second is not first
    put(second, "/b", "2")
    first.start()
    first.wait_ready()
    assert first.control("get", "--prefix", "/") == "/a\n1\n/b\n2\n"
    assert cluster.leader() not in cluster.followers()


OWNER = """
import sys
from tests.etcd import running_etcd
with running_etcd() as etcd:
    print(etcd.folder, etcd._process.pid, flush=True)
    sys.stdin.read()
"""


def test_a_run_that_is_killed_leaves_no_process_and_its_folder_goes_with_the_next() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        folder, pid = owner.stdout.readline().split()
        owner.kill()
    wait_until(lambda: not Path("/proc", pid).exists(), within=10, told="etcd is gone")
    # It may be gone by now: another run on this machine sweeps what it finds as well.
    with running_etcd():
        assert not Path(folder).exists()
