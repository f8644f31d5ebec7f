from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from miren.base.errors import InvalidInput
from miren.runtime.api import ContainerId, ContainerSpec, Mount
from miren.runtime.containerd.spec import HostFiles, HostLimits, User, runtime_spec
from miren.runtime.images.layout import ImageConfig

FOLDER = Path("/state/containers/u-1")
FILES = HostFiles(
    netns=Path("/run/netns/miren-u-1"),
    hosts=FOLDER / "hosts",
    hostname=FOLDER / "hostname",
    resolv_conf=FOLDER / "resolv.conf",
)
SPEC = ContainerSpec(id=ContainerId("u", 1), image="web", log=Path("/logs/main.log"))
IMAGE = ImageConfig(command=("serve", "--all"), env={"A": "image", "B": "image"})


def make(
    spec: ContainerSpec = SPEC,
    image: ImageConfig = IMAGE,
    *,
    user: User | None = None,
    limits: HostLimits | None = None,
) -> Mapping[str, Any]:
    return runtime_spec(
        spec,
        image,
        user=user or User(),
        files=FILES,
        instance="abcdef",
        limits=limits or HostLimits(swap=True, open_files=1 << 20),
    )


def test_the_command_is_the_specs_else_the_images() -> None:
    assert make()["process"]["args"] == ["serve", "--all"]
    own = replace(SPEC, command=("sh", "-c", "true"))
    assert make(own)["process"]["args"] == ["sh", "-c", "true"]


def test_no_command_at_all_is_refused_with_the_images_name() -> None:
    with pytest.raises(InvalidInput, match="web has no command"):
        make(image=ImageConfig())


def test_the_environment_is_the_images_with_the_specs_on_top_and_has_a_path() -> None:
    env = make(replace(SPEC, env={"B": "spec"}, hostname="box"))["process"]["env"]
    assert {"A=image", "B=spec", "HOSTNAME=box"} <= set(env)
    assert any(line.startswith("PATH=/usr/local/sbin:") for line in env)
    assert "PATH=/only" in make(image=replace(IMAGE, env={"PATH": "/only"}))["process"]["env"]


def test_the_working_dir_is_the_specs_else_the_images() -> None:
    assert make(image=replace(IMAGE, working_dir="/srv"))["process"]["cwd"] == "/srv"
    assert make(replace(SPEC, working_dir="/data"))["process"]["cwd"] == "/data"


def test_nothing_more_than_a_server_needs_is_permitted() -> None:
    process = make()["process"]
    assert process["noNewPrivileges"] is True
    permitted = set(process["capabilities"]["permitted"])
    assert "CAP_NET_BIND_SERVICE" in permitted
    assert permitted.isdisjoint(
        {"CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_MKNOD", "CAP_SYS_PTRACE"}
    )
    assert "inheritable" not in process["capabilities"]
    assert "ambient" not in process["capabilities"]
    assert "/proc/kcore" in make()["linux"]["maskedPaths"]
    assert "/proc/sys" in make()["linux"]["readonlyPaths"]


def test_limits_are_set_only_where_asked_for() -> None:
    resources = make()["linux"]["resources"]
    assert "memory" not in resources
    assert "cpu" not in resources
    limited = make(replace(SPEC, memory=64 << 20, cpu=0.5))["linux"]["resources"]
    assert limited["memory"] == {"limit": 64 << 20, "swap": 64 << 20}
    assert limited["cpu"] == {"period": 100_000, "quota": 50_000, "shares": 512}


def test_swap_is_left_alone_where_the_kernel_does_not_count_it() -> None:
    limits = HostLimits(swap=False, open_files=1024)
    resources = make(replace(SPEC, memory=1 << 20), limits=limits)["linux"]["resources"]
    assert resources["memory"] == {"limit": 1 << 20}


def test_open_files_never_exceed_what_this_host_allows() -> None:
    limits = HostLimits(swap=True, open_files=1024)
    assert make(limits=limits)["process"]["rlimits"][0]["hard"] == 1024


def test_a_fork_bomb_is_bounded_with_room_for_the_sandboxs_own_threads() -> None:
    assert 512 <= make()["linux"]["resources"]["pids"]["limit"] <= 32768


def test_the_containers_network_cgroup_and_user_are_its_own() -> None:
    document = make(user=User(1000, 1001, (2000,)))
    assert {"type": "network", "path": "/run/netns/miren-u-1"} in document["linux"]["namespaces"]
    assert document["linux"]["cgroupsPath"] == "/miren-abcdef/u-1"
    assert document["process"]["user"] == {"uid": 1000, "gid": 1001, "additionalGids": [2000]}


def test_mounts_come_last_in_their_order_and_hold_no_devices_or_setuid() -> None:
    mounts = (Mount(Path("/a"), "/data"), Mount(Path("/b"), "/data/b", read_only=True))
    first, second = make(replace(SPEC, mounts=mounts))["mounts"][-2:]
    assert first["options"] == ["rbind", "rw", "nosuid", "nodev"]
    assert (second["destination"], second["options"][1]) == ("/data/b", "ro")


def test_host_files_are_shown_read_only() -> None:
    mounts = {mount["destination"]: mount for mount in make()["mounts"]}
    for target, source in (("/etc/hosts", "hosts"), ("/etc/resolv.conf", "resolv.conf")):
        assert mounts[target]["source"] == str(FOLDER / source)
        assert "ro" in mounts[target]["options"]
