"""What is asked of a server from outside, over plain HTTP on its socket.

    curl --unix-socket /run/miren/miren.sock 'http://miren/readyz?verbose'

`/healthz`: whether it works at all, or is to be started anew. `/readyz`: whether it can do its
work: the store can be reached, every cache follows it, every controller works; else it says with
status 503 which of these is not so. With `?verbose` both tell of all that they look at.
`/metrics` is for Prometheus, where `prometheus_client` is installed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from miren.base.errors import MirenError, Unimplemented
from miren.entities.store.api import Store
from miren.reconcile.engine import Engine
from miren.reconcile.health import Check
from miren.rpc.server import Page, Text

__all__ = ["Probes"]

#: How long the store has for saying how it is, in seconds.
_PATIENCE = 2.0
#: The text format that every Prometheus reads.
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class Probes:
    """Answers for one server: its engine, and its store."""

    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine = engine
        self._store = store
        self._exposition: Page | None = None

    def pages(self) -> Mapping[str, Page]:
        """Return what answers, by path."""
        return {"/healthz": self.healthz, "/readyz": self.readyz, "/metrics": self.metrics}

    async def healthz(self, query: Mapping[str, str]) -> Text:
        """Say whether the engine works."""
        trouble = None if self._engine.health().is_alive else "it does not run"
        return _answer([Check("engine", trouble)], query)

    async def readyz(self, query: Mapping[str, str]) -> Text:
        """Say whether the store can be reached, and the engine is ready."""
        health = self._engine.health()
        broken = [
            f"[!] controller/{each.name}: {each.last_error}"
            for each in health.controllers
            if health.is_alive and not each.is_running
        ]
        return _answer([await self._store_check(), *health.checks], query, told=broken)

    async def metrics(self, query: Mapping[str, str]) -> Text:
        """Return the engine's metrics and the process's, or raise Unimplemented."""
        if self._exposition is None:
            self._exposition = _exposition_of(self._engine)
        return await self._exposition(query)

    async def _store_check(self) -> Check:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._store.status()
        except TimeoutError:
            return Check("store", f"no answer within {_PATIENCE:g} s")
        except MirenError as error:
            return Check("store", error.message)
        return Check("store")


def _answer(
    checks: Sequence[Check], query: Mapping[str, str], *, told: Sequence[str] = ()
) -> Text:
    """Return `ok`, or what is not; with `?verbose` also what is, and what else is `told`."""
    bad = [check for check in checks if check.trouble]
    shown = checks if "verbose" in query else bad
    lines = [
        f"[-] {check.name}: {check.trouble}" if check.trouble else f"[+] {check.name} ok"
        for check in shown
    ]
    lines += told if "verbose" in query else ()
    return Text("\n".join([*lines, "not ok" if bad else "ok", ""]), status=503 if bad else 200)


def _exposition_of(engine: Engine) -> Page:
    try:
        # Only here: it is an extra.
        from prometheus_client import CollectorRegistry, ProcessCollector
        from prometheus_client.exposition import generate_latest

        from miren.reconcile.prometheus import EngineCollector
    except ImportError as error:
        hint = "pip install 'miren[metrics]' where the server runs"
        raise Unimplemented("prometheus_client is not installed", hint=hint) from error
    registry = CollectorRegistry()
    registry.register(EngineCollector(engine))
    ProcessCollector(registry=registry)

    async def exposition(_query: Mapping[str, str]) -> Text:
        return Text(generate_latest(registry).decode(), type=_EXPOSITION)

    return exposition
