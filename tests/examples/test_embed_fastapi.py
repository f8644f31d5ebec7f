"""The FastAPI example as it is run: uvicorn in a process of its own, asked over HTTP.

It is given a socket that listens already, so that nobody has to wait until it does.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

EXAMPLE = Path(__file__).parents[2] / "examples" / "05-embed-fastapi"


@contextmanager
def serving(file: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "uvicorn", "app:app", "--fd", str(listener.fileno())]
        process = subprocess.Popen(
            command,
            cwd=EXAMPLE,
            env={**os.environ, "GREETINGS": str(file)},
            pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL,
        )
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/greetings"
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=15) == 0
        finally:
            process.kill()
            process.wait()


async def ask(method: str, url: str, body: object = None) -> tuple[int, dict[str, str]]:
    timeout = aiohttp.ClientTimeout(total=30)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(method, url, json=body) as response,
    ):
        return response.status, await response.json()


async def test_what_is_put_is_worked_on_before_the_answer_and_outlives_the_app(
    tmp_path: Path,
) -> None:
    with serving(tmp_path / "greetings.db") as url:
        shouted = {"text": "hello", "shout": "HELLO"}
        assert await ask("PUT", f"{url}/hi", {"text": "hello"}) == (200, shouted)
        again = {"text": "bye", "shout": "BYE"}
        assert await ask("PUT", f"{url}/hi", {"text": "bye"}) == (200, again)
    with serving(tmp_path / "greetings.db") as url:
        assert await ask("GET", f"{url}/hi") == (200, again)


async def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    with serving(tmp_path / "greetings.db") as url:
        status, told = await ask("PUT", f"{url}/hi", {"text": ""})
        assert status == 422
        assert "spec.text" in told["error"]
        status, told = await ask("GET", f"{url}/ho")
        assert status == 404
