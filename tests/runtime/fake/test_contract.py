from __future__ import annotations

import pytest

from miren.runtime.api import Runtime
from miren.runtime.fake import FakeRuntime
from tests.contracts.runtime_contract import PAGE, Commands, OpenRuntime, RuntimeContract


class FakeCommands(Commands):
    def missing(self) -> tuple[str, ...]:
        return ("missing", "no-such-command")

    def exit_with(self, code: int) -> tuple[str, ...]:
        return ("exit", str(code))

    def print_text(self, text: str) -> tuple[str, ...]:
        return ("print", text)

    def print_variable(self, name: str) -> tuple[str, ...]:
        return ("print-env", name)

    def print_working_dir(self) -> tuple[str, ...]:
        return ("print-dir",)

    def exit_on_term(self, code: int) -> tuple[str, ...]:
        return ("exit-on-term", str(code))

    def ignore_term(self) -> tuple[str, ...]:
        return ("ignore-term",)

    def serve(self, port: int) -> tuple[str, ...]:
        return ("listen", str(port), PAGE)


class TestFakeRuntime(RuntimeContract):
    @pytest.fixture
    def open_runtime(self) -> OpenRuntime:
        fake = FakeRuntime()
        return lambda: fake

    @pytest.fixture
    def commands(self) -> Commands:
        return FakeCommands()

    async def ask(self, runtime: Runtime, address: str, port: int) -> str:
        assert isinstance(runtime, FakeRuntime)
        return runtime.ask(address, port)
