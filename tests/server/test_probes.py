"""What a server answers to probes and to Prometheus, over plain HTTP on its socket."""

from __future__ import annotations

import asyncio
import re
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from miren.base.errors import Unimplemented
from miren.entities.store.memory import MemoryStore
from miren.reconcile.engine import Engine
from miren.server.probes import Probes
from tests.builders import make_greeting
from tests.reconcile.greeters import Greeter
from tests.servers import Server, wait_until
from tests.stores import Faulty


def test_a_server_says_that_it_is_alive_and_ready(server: Server) -> None:
    alive = server.http("GET", "/healthz")
    assert (alive.status, alive.body) == (200, b"ok\n")
    wait_until(lambda: server.http("GET", "/readyz").status == 200, told="ready")
    assert server.http("GET", "/readyz").body == b"ok\n"
    lines = server.http("GET", "/readyz?verbose").body.decode().splitlines()
    assert lines[:2] == ["[+] store ok", "[+] engine ok"]
    assert "[+] cache/sandbox.miren.dev ok" in lines
    assert "[+] controller/sandboxcontroller ok" in lines
    assert lines[-1] == "ok"


def test_prometheus_finds_the_engine_and_the_process(server: Server) -> None:
    server.ok("Apply", document={"kind": "Disk", "metadata": {"name": "measured"}})
    name = 'controller_runtime_reconcile_total{controller="diskcontroller",result="success"}'

    def reconciled() -> bool:
        text = server.http("GET", "/metrics").body.decode()
        found = re.search(rf"^{re.escape(name)} (\d)", text, re.MULTILINE)
        return found is not None and found[1] != "0"

    wait_until(reconciled, told="a disk's reconcile")
    answer = server.http("GET", "/metrics")
    assert answer.status == 200
    assert answer.type == "text/plain"
    names = {family.name for family in text_string_to_metric_families(answer.body.decode())}
    assert {"workqueue_depth", "miren_cache_entities", "process_resident_memory_bytes"} <= names


async def test_what_is_not_ready_is_named_with_status_503() -> None:
    store = Faulty(MemoryStore())
    async with Engine(store, [Greeter()]) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle(timeout=30)
        probes = Probes(engine, store)
        ready = await probes.readyz({})
        assert (ready.status, ready.body) == (200, "ok\n")
        store.go_down()
        async with asyncio.timeout(10):
            while engine.is_ready:  # noqa: ASYNC110  # it hears of it soon
                await asyncio.sleep(0.01)
        ready = await probes.readyz({})
        assert ready.status == 503
        assert re.fullmatch(
            r"\[-\] store: .+\n"
            r"\[-\] cache/greeting\.example\.dev: does not follow the store\nnot ok\n",
            ready.body,
        )
        told = (await probes.readyz({"verbose": ""})).body
        assert "[+] controller/greeter ok" in told
        alive = await probes.healthz({})
        assert (alive.status, alive.body) == (200, "ok\n"), "starting it anew would not help"
    alive = await probes.healthz({})
    assert (alive.status, alive.body) == (503, "[-] engine: it does not run\nnot ok\n")


async def test_a_store_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Silent(Faulty):
        async def before(self, call: str) -> None:
            if call == "status":
                await asyncio.Event().wait()

    monkeypatch.setattr("miren.server.probes._PATIENCE", 0.05)
    store = Silent(MemoryStore())
    async with Engine(store) as engine:
        ready = await Probes(engine, store).readyz({})
    assert ready.body == "[-] store: no answer within 0.05 s\nnot ok\n"


async def test_without_its_library_there_are_no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    store = MemoryStore()
    async with Engine(store) as engine:
        with pytest.raises(Unimplemented) as caught:
            await Probes(engine, store).metrics({})
    assert caught.value.hint == "pip install 'miren[metrics]' where the server runs"
