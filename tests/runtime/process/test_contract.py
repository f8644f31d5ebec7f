from __future__ import annotations

import socket
from pathlib import Path

import pytest

from miren.runtime.process import ProcessRuntime
from tests.contracts.runtime_contract import OpenRuntime, RuntimeContract


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class TestProcessRuntime(RuntimeContract):
    runtime_class = "process"
    # There is no network of its own: the port is the host's.
    http_port = free_port()

    @pytest.fixture
    def open_runtime(self, tmp_path: Path) -> OpenRuntime:
        return lambda: ProcessRuntime(tmp_path / "state", instance="tester")
