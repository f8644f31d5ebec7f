"""Run the host's tools: argument vectors, a deadline, and their words in the error."""

from __future__ import annotations

import asyncio

from miren.base.errors import DeadlineExceeded, RuntimeFailure

__all__ = ["nft", "run"]

#: Where Debian has the tools.
_PACKAGES = {"nft": "nftables", "umount": "mount"}


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
            hint=f"apt-get install {_PACKAGES.get(command[0], command[0])}",
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


async def nft(script: str) -> None:
    """Apply an nftables script, all of it or nothing."""
    await run("nft", "-f", "-", stdin=script)
