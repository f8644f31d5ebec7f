"""The OCI runtime spec of a container, as a pure function of what was asked and found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miren.base.errors import InvalidInput
from miren.runtime.api import ContainerSpec, Mount
from miren.runtime.images.layout import ImageConfig

__all__ = ["HostFiles", "HostLimits", "User", "cgroup_path", "runtime_spec"]

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What a server started as root needs to open a port, read its files and become somebody else.
# Nothing that reaches beyond the container: no raw sockets, devices, modules, mounts or clocks.
_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETUID",
)
_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# runsc's own threads count too, and it dies without a word when it cannot have another.
PIDS = 4096
_CPU_PERIOD = 100_000  # microseconds
_OPEN_FILES = 65_536


@dataclass(frozen=True, slots=True)
class User:
    """Whom the command runs as."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class HostLimits:
    """What this host lets us set: a limit on swap at all, and at most so many open files."""

    swap: bool
    open_files: int


@dataclass(frozen=True, slots=True)
class HostFiles:
    """What the container gets from the host beside its image."""

    netns: Path
    hosts: Path
    hostname: Path
    resolv_conf: Path


def cgroup_path(instance: str, id: object) -> str:
    """Return where the container is in every cgroup hierarchy."""
    return f"/miren-{instance}/{id}"


def runtime_spec(
    spec: ContainerSpec,
    image: ImageConfig,
    *,
    user: User,
    files: HostFiles,
    instance: str,
    limits: HostLimits,
) -> Mapping[str, Any]:
    """Return the spec of an ordinary container. Raises InvalidInput when there is no command."""
    return {
        "ociVersion": "1.0.2",
        "hostname": spec.hostname,
        "root": {"path": "rootfs", "readonly": False},
        "process": _process(spec, image, user, limits),
        "mounts": [*_system_mounts(), *_file_mounts(files), *map(_bind, spec.mounts)],
        "annotations": {"dev.miren.instance": instance, "dev.miren.container": str(spec.id)},
        "linux": {
            "cgroupsPath": cgroup_path(instance, spec.id),
            "namespaces": [
                {"type": "pid"},
                {"type": "ipc"},
                {"type": "uts"},
                {"type": "mount"},
                {"type": "network", "path": str(files.netns)},
            ],
            "resources": _resources(spec, limits),
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
        },
    }


def _process(
    spec: ContainerSpec, image: ImageConfig, user: User, limits: HostLimits
) -> Mapping[str, Any]:
    arguments = spec.command or image.command
    files = min(_OPEN_FILES, limits.open_files)
    if not arguments:
        raise InvalidInput(
            f"the image {spec.image} has no command of its own, and none was given",
            hint="set the container's command",
        )
    names = list(_CAPABILITIES)
    return {
        "terminal": False,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
        "args": list(arguments),
        "env": _environment(spec, image),
        "cwd": spec.working_dir or image.working_dir,
        "capabilities": {"bounding": names, "effective": names, "permitted": names},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": files, "soft": files}],
        "noNewPrivileges": True,
    }


def _environment(spec: ContainerSpec, image: ImageConfig) -> Sequence[str]:
    values = {"PATH": _PATH, "HOSTNAME": spec.hostname, **image.env, **spec.env}
    return [f"{name}={value}" for name, value in values.items()]


def _resources(spec: ContainerSpec, limits: HostLimits) -> Mapping[str, Any]:
    resources: dict[str, Any] = {
        "devices": [{"allow": False, "access": "rwm"}],
        "pids": {"limit": PIDS},
    }
    if spec.memory is not None:
        resources["memory"] = {"limit": spec.memory}
        if limits.swap:
            # Memory and swap together: what does not fit in memory fits nowhere.
            resources["memory"]["swap"] = spec.memory
    if spec.cpu is not None:
        resources["cpu"] = {
            "period": _CPU_PERIOD,
            "quota": max(1000, round(spec.cpu * _CPU_PERIOD)),
            "shares": max(2, round(spec.cpu * 1024)),
        }
    return resources


def _system_mounts() -> Sequence[Mapping[str, Any]]:
    safe = ["nosuid", "noexec", "nodev"]
    return [
        _mount("/proc", "proc", "proc", safe),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666"]
        ),
        _mount("/dev/shm", "tmpfs", "shm", [*safe, "mode=1777", "size=65536k"]),  # noqa: S108
        _mount("/dev/mqueue", "mqueue", "mqueue", safe),
        _mount("/sys", "sysfs", "sysfs", [*safe, "ro"]),
    ]


def _file_mounts(files: HostFiles) -> Sequence[Mapping[str, Any]]:
    options = ["bind", "ro", "nosuid", "nodev", "noexec"]
    return [
        _mount("/etc/hosts", "bind", str(files.hosts), options),
        _mount("/etc/hostname", "bind", str(files.hostname), options),
        _mount("/etc/resolv.conf", "bind", str(files.resolv_conf), options),
    ]


def _bind(mount: Mount) -> Mapping[str, Any]:
    access = "ro" if mount.read_only else "rw"
    return _mount(mount.target, "bind", str(mount.source), ["rbind", access, "nosuid", "nodev"])


def _mount(destination: str, type: str, source: str, options: Sequence[str]) -> Mapping[str, Any]:
    return {"destination": destination, "type": type, "source": source, "options": list(options)}
