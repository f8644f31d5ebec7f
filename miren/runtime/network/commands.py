"""Run `ip` and `nft`: argument vectors, a deadline, and their words in the error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from miren.base.errors import DeadlineExceeded, RuntimeFailure

__all__ = ["ip", "ip_batch", "ip_json", "nft", "run"]


async def run(*command: str, stdin: str = "", timeout: float = 20.0) -> str:
    """Return what `command` prints; raise RuntimeFailure with its words when it fails.

    The program has ended when this returns, however it returns: a cancelled call leaves no
    change that happens later.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise RuntimeFailure(
            f"{command[0]} is not installed",
            hint="apt-get install iproute2 nftables",
        ) from error
    try:
        async with asyncio.timeout(timeout):
            output, errors = await process.communicate(stdin.encode())
    except TimeoutError as error:
        raise DeadlineExceeded(f"{' '.join(command)} took over {timeout:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        said = errors.decode(errors="replace").strip() or f"exit code {process.returncode}"
        raise RuntimeFailure(f"{' '.join(command)}: {said}")
    return output.decode()


async def ip(*arguments: str) -> str:
    """Run `ip` and return what it prints."""
    return await run("ip", *arguments)


async def ip_json(*arguments: str) -> list[dict[str, Any]]:
    """Run `ip -json` and return its rows."""
    rows = json.loads(await run("ip", "-json", *arguments) or "[]")
    return [row for row in rows if row]


async def ip_batch(lines: Iterable[str], *, netns: str | None = None) -> None:
    """Run many `ip` commands in one process, in `netns` if given, up to the first that fails."""
    where = ("-netns", netns) if netns else ()
    await run("ip", *where, "-batch", "-", stdin="\n".join(lines) + "\n")


async def nft(script: str) -> None:
    """Apply an nftables script, all of it or nothing."""
    await run("nft", "-f", "-", stdin=script)
