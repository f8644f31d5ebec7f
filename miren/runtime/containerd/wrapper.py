"""The program that containerd's shim starts as the OCI runtime of the class `runsc`.

The shim passes arguments made for runc. The wrapper puts runsc's own flags before them, and
where it must, hides one file from `runsc start`: this runsc takes a network namespace for the
host's when /proc/sys/net/core/rmem_default exists in it, and since Linux 6.10 it does in all.
"""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path

from miren.base.errors import DeadlineExceeded

__all__ = ["install_wrapper", "must_hide_sysctls", "wrapper_script"]

_FLAGS = ("--platform=systrap", "--network=sandbox")

_TIMEOUT = 10.0

# What runsc itself reads below /proc/sys.
_KEPT = ("vm/mmap_min_addr", "net/core/somaxconn")


def wrapper_script(runsc: Path, *, hide_sysctls: bool) -> str:
    """Return the wrapper's text, a shell script: it adds 2 ms, where Python would add 20."""
    command = " ".join([shlex.quote(str(runsc)), *_FLAGS])
    plain = f'exec {command} "$@"\n'
    if not hide_sysctls:
        return f"#!/bin/sh\n{plain}"
    return (
        "#!/bin/sh\n"
        'for argument in "$@"; do\n'
        '    [ "$argument" = start ] || continue\n'
        f"    exec unshare --mount --propagation private sh -ec {shlex.quote(_hiding())}"
        f' sh {command} "$@"\n'
        "done\n"
        f"{plain}"
    )


def _hiding() -> str:
    lines = [f'value_{index}="$(cat /proc/sys/{name})"' for index, name in enumerate(_KEPT)]
    lines.append("mount -t tmpfs -o mode=0755 tmpfs /proc/sys")
    for index, name in enumerate(_KEPT):
        lines.append(f"mkdir -p /proc/sys/{Path(name).parent}")
        lines.append(f'echo "$value_{index}" > /proc/sys/{name}')
    lines.append('exec "$@"')
    return "\n".join(lines)


async def must_hide_sysctls() -> bool:
    """Return whether the file that misleads runsc exists in a new network namespace."""
    process = await asyncio.create_subprocess_exec(
        "unshare", "--net", "test", "-e", "/proc/sys/net/core/rmem_default"
    )
    try:
        async with asyncio.timeout(_TIMEOUT):
            return await process.wait() == 0
    except TimeoutError as error:
        raise DeadlineExceeded(f"unshare did not end within {_TIMEOUT:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def install_wrapper(target: Path, runsc: Path) -> None:
    """Write the wrapper to `target`, at once: shims of running containers use it too."""
    text = wrapper_script(runsc, hide_sysctls=await must_hide_sysctls())
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(".new")
    fresh.write_text(text)
    fresh.chmod(0o755)
    fresh.replace(target)
