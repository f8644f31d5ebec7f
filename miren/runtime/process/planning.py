"""From a spec and an unpacked image to what is run: which program, where, with which environment.

There is no chroot, so a path of the image means its folder on this host: the working dir, a
command given as a path, and the folders of PATH, behind which the host's own PATH follows so that
a script finds the tools it would find in a fuller image. Arguments are never rewritten.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from miren.base.errors import RuntimeFailure
from miren.runtime.api import ContainerSpec
from miren.runtime.images.layout import ImageConfig
from miren.runtime.images.unpack import resolve_inside
from miren.runtime.process.records import Plan
from miren.runtime.process.strays import MARK

__all__ = ["make_plan"]

# What container runtimes assume when an image does not say.
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MOST_LINKS = 40


def make_plan(
    spec: ContainerSpec, config: ImageConfig, *, root: Path, instance: str, host_path: str
) -> Plan:
    """Return the plan. Raises RuntimeFailure for what a plain process cannot be given."""
    if spec.mounts:
        targets = ", ".join(mount.target for mount in spec.mounts)
        raise RuntimeFailure(
            f"container {spec.id}: the process runtime cannot mount {targets}",
            hint="run sandboxes with volumes on the containerd runtime",
        )
    argv = config.command if spec.command is None else spec.command
    if not argv:
        raise RuntimeFailure(
            f"container {spec.id}: image {spec.image!r} has no command",
            hint="give the container a command",
        )
    working_dir = _real(root, spec.working_dir or config.working_dir)
    env = {"HOSTNAME": spec.hostname, **config.env, **spec.env}
    folders = [str(_real(root, each)) for each in env.get("PATH", _DEFAULT_PATH).split(":")]
    env["PATH"] = ":".join([*folders, host_path])
    env[MARK] = f"{instance}/{spec.id}"
    return Plan(
        instance=instance,
        argv=argv,
        executable=_find(argv[0], root, working_dir, env["PATH"].split(":")),
        env=env,
        working_dir=str(working_dir),
        log=str(spec.log.absolute()),
        labels=dict(spec.labels),
    )


def _find(command: str, root: Path, working_dir: Path, folders: Sequence[str]) -> str:
    """Return the program's host path, or `command` itself where there is none.

    That it is missing is said by starting it, as it is in every other runtime.
    """
    if command.startswith("/"):
        return str(_real(root, command))
    if "/" in command:
        return str(working_dir / command)
    for folder in folders:
        candidate = Path(folder) / command
        if candidate.is_relative_to(root):
            candidate = _real(root, str(candidate.relative_to(root)))
        # Access first: it is just False for a folder that may not even be looked into.
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return str(candidate)
    return f"{root}/{command}"


def _real(root: Path, path: str) -> Path:
    """Return the host path of the image's `path`, its last component followed inside as well."""
    found = resolve_inside(root, path)
    for _ in range(_MOST_LINKS):
        if not found.is_symlink():
            break
        target = found.readlink()
        inside = target if target.is_absolute() else "/" / found.parent.relative_to(root) / target
        found = resolve_inside(root, str(inside))
    return found


def host_path(environ: Mapping[str, str]) -> str:
    """Return the host's PATH, or the usual one."""
    return environ.get("PATH") or _DEFAULT_PATH
