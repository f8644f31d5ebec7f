"""A daemon of a test's own: a shell that says something and ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from miren.base.daemons import Daemon
from miren.base.errors import RuntimeFailure
from miren.base.processes import spawn

TRACE = """

goroutine 1 [running]:
go.etcd.io/bbolt.(*DB).freepages(0xc0001a2000)
\t/build/bbolt/db.go:1056 +0x1ee
main.main()
\t/build/etcd/main.go:28 +0x20
"""
PANIC = "panic: freepages: failed to get all reachable pages (page 3: multiple references)"
FAULT = "fatal error: fault"
ZAP = '{"level":"fatal","ts":"2026-01-01T00:00:00Z","msg":"failed to open WAL","error":"EOF"}'
LOGRUS = 'time="2026-01-01T00:00:00Z" level=fatal msg="no space left on device"'
WARNING = '{"level":"warn","ts":"2026-01-01T00:00:00Z","msg":"a \\"fatal\\" word"}'


class Talker(Daemon):
    """Says `said` and ends, whenever it is started."""

    name = "talker"

    def __init__(self, folder: Path, said: str = "") -> None:
        self._text = folder / "said"
        self._text.write_text(said)
        super().__init__(folder / "socket", folder / "log", ready_within=10)

    def say(self, said: str) -> None:
        self._text.write_text(said)

    def pid(self) -> int | None:
        return None

    def _spawn(self) -> int:
        return spawn(["/bin/cat", str(self._text)], {"PATH": "/usr/bin:/bin"}, log=self.log)

    async def _is_ready(self) -> bool:
        return False


async def words_of(talker: Talker) -> str:
    with pytest.raises(RuntimeFailure, match="talker does not answer on") as caught:
        await talker.start()
    return caught.value.message.partition(f"{talker.socket}: ")[2]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (f"{WARNING}\n{PANIC}{TRACE}", PANIC),
        (f"{ZAP}\n{PANIC}{TRACE}", PANIC),
        (f"unexpected fault address 0x7f\n{FAULT}\n[signal SIGBUS]{TRACE}", FAULT),
        (f"{PANIC}{TRACE * 500}", PANIC),
        (f"{WARNING}\n{ZAP}\nexit status 1\n", ZAP),
        (f"starting\n{LOGRUS}\n", LOGRUS),
        (f"starting\n{WARNING}\n", WARNING),
        ("\ttold with panic: in it\n", "\ttold with panic: in it"),
        ("", "it logged nothing"),
    ],
)
async def test_what_ended_it_is_told_and_not_the_end_of_a_trace(
    said: str, told: str, tmp_path: Path
) -> None:
    assert await words_of(Talker(tmp_path, said)) == told


async def test_what_ended_it_before_is_not_told_again(tmp_path: Path) -> None:
    talker = Talker(tmp_path, f"{PANIC}{TRACE}")
    assert await words_of(talker) == PANIC
    talker.say("cannot listen\n")
    assert await words_of(talker) == "cannot listen"
    talker.say("")
    assert await words_of(talker) == "it logged nothing"


def test_one_without_a_log_says_so(tmp_path: Path) -> None:
    assert Talker(tmp_path).last_words() == "it wrote no log"
