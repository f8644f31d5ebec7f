"""Twenty sandboxes at once, on gVisor, and nothing left of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.server import Server, fetch, sandbox

pytestmark = pytest.mark.host

NAMES = [f"many-{number}" for number in range(20)]


@pytest.mark.timeout(180)
def test_twenty_sandboxes_applied_at_once_all_answer_and_leave_nothing(server: Server) -> None:
    server.apply(*(sandbox(name) for name in NAMES))
    for name in NAMES:
        server.must("wait", f"sandbox/{name}", "--for", "condition=Ready", "--timeout", "90")

    addresses = {server.get(f"sandbox/{name}")["status"]["address"] for name in NAMES}
    assert len(addresses) == 20
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(fetch, sorted(addresses)))
    assert all("Linux version 4.4.0" in answer for answer in answers)
    assert {answer.split()[-1] for answer in answers} == set(NAMES)  # each by its own host name

    server.must("delete", "sandbox", *NAMES, "--timeout", "90")
    assert server.leftovers(of_containers=True) == []
