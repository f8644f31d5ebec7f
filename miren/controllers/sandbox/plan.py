"""From a sandbox's spec to what a runtime takes. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from miren.entities.gen import Sandbox
from miren.entities.gen.compute import PortProtocol
from miren.reconcile.results import Permanent
from miren.runtime.api import ContainerId, ContainerSpec, ContainerState, Mount

__all__ = ["SPEC_LABEL", "container_spec", "is_current", "log_path", "tcp_ports"]

#: Marks a container with what it was made from, so that a changed spec is noticed.
SPEC_LABEL = "miren.dev/spec"


def container_spec(
    sandbox: Sandbox,
    *,
    log: Path,
    runtime_class: str,
    mounts: Iterable[Mount],
    env: Mapping[str, str],
) -> ContainerSpec:
    """Return the container of the sandbox's current attempt, with `env` as its environment.

    Raises Permanent for what cannot be run: several containers.
    """
    if len(sandbox.spec.containers) != 1:
        raise Permanent(
            "a sandbox of several containers cannot be run yet: put each into its own sandbox",
            reason="Unsupported",
        )
    (container,) = sandbox.spec.containers
    return ContainerSpec(
        id=ContainerId(sandbox.uid, sandbox.status.attempt),
        image=container.image,
        log=log,
        command=container.command or None,
        env=env,
        working_dir=container.working_dir,
        hostname=sandbox.spec.hostname or sandbox.name,
        mounts=tuple(mounts),
        memory=None if container.memory is None else int(container.memory),
        cpu=None if container.cpu is None else float(container.cpu),
        runtime_class=runtime_class,
        labels={
            "miren.dev/project": sandbox.project,
            "miren.dev/sandbox": sandbox.name,
            SPEC_LABEL: _digest(sandbox),
        },
    )


def is_current(sandbox: Sandbox, container: ContainerState | None) -> bool:
    """Return whether the container was made from what the spec says now."""
    return container is not None and container.labels.get(SPEC_LABEL) == _digest(sandbox)


def tcp_ports(sandbox: Sandbox) -> tuple[int, ...]:
    """Return the ports that must answer before the sandbox is ready."""
    return tuple(
        port.port
        for container in sandbox.spec.containers
        for port in container.ports
        if port.protocol is PortProtocol.TCP
    )


def log_path(logs: Path, sandbox: Sandbox) -> Path:
    """Return where the sandbox's container writes what it says."""
    return logs / sandbox.project / sandbox.name / f"{sandbox.spec.containers[0].name}.log"


#: What a running container follows without being made anew.
_FOLLOWED = frozenset({"node", "grace_period", "restart_policy", "start_timeout"})


def _digest(sandbox: Sandbox) -> str:
    """Return a digest of all of the spec that only a new container can follow."""
    text = sandbox.spec.model_dump_json(exclude=set(_FOLLOWED))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
