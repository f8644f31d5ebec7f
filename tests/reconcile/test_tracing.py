"""Spans of reconciles, through the OpenTelemetry API, and nothing where it is not there."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from miren.reconcile.context import Context
from miren.reconcile.results import Permanent, Requeue, Temporary
from miren.reconcile.tracing import load_tracing
from tests.builders import Greeting, make_greeting
from tests.reconcile.greeters import Doing, Greeter
from tests.reconcile.virtual import running, virtually


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What is traced, while a program has tracing set up."""
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # The API sets its provider once for a process, and has no way back.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def test_each_reconcile_is_a_span(spans: InMemorySpanExporter) -> None:
    ids: list[str] = []

    async def act(ctx: Context[Greeting], greeting: Greeting) -> Requeue | None:
        ids.append(ctx.id)
        with trace.get_tracer("tests").start_as_current_span("inside"):
            await asyncio.sleep(1)
        return Requeue(5) if len(ids) == 1 else None

    @virtually
    async def test() -> None:
        async with running(Doing(act)) as engine:
            await engine.client.create(make_greeting())
            await asyncio.sleep(10)

    test()
    inner, first, _, second = spans.get_finished_spans()
    assert first.name == "reconcile doing"
    assert first.attributes is not None
    assert dict(first.attributes) == {
        "miren.controller": "doing",
        "miren.kind": "Greeting",
        "miren.project": "default",
        "miren.name": "hi",
        "miren.revision": first.attributes["miren.revision"],
        "miren.generation": 1,
        "miren.reconcile": ids[0],
        "miren.outcome": "requeue",
        "miren.requeue_after": 5,
    }
    assert first.status.status_code is StatusCode.UNSET
    assert second.attributes is not None
    assert second.attributes["miren.outcome"] == "done"
    assert second.attributes["miren.reconcile"] == ids[1]
    assert inner.parent is not None
    assert inner.parent.span_id == first.context.span_id
    assert first.parent is None
    assert first.context.trace_id != second.context.trace_id, "each one is a trace of its own"


@pytest.mark.parametrize(
    ("error", "outcome", "status"),
    [
        (ValueError("no such word"), "error", StatusCode.ERROR),
        (Permanent("never"), "permanent", StatusCode.ERROR),
        (Temporary("not yet", after=100), "temporary", StatusCode.UNSET),
    ],
)
def test_an_error_is_in_its_span(
    spans: InMemorySpanExporter, error: Exception, outcome: str, status: StatusCode
) -> None:
    async def act(ctx: Context[Greeting], greeting: Greeting) -> None:
        raise error

    @virtually
    async def test() -> None:
        async with running(Doing(act)) as engine:
            await engine.client.create(make_greeting())
            await asyncio.sleep(0.004)

    test()
    span = spans.get_finished_spans()[0]
    assert span.attributes is not None
    assert span.attributes["miren.outcome"] == outcome
    assert span.status.status_code is status
    (event,) = span.events
    assert event.name == "exception"
    assert event.attributes is not None
    assert event.attributes["exception.message"] == str(error)


def test_a_reconcile_that_is_cancelled_ends_its_span(spans: InMemorySpanExporter) -> None:
    async def act(ctx: Context[Greeting], greeting: Greeting) -> None:
        await asyncio.sleep(1000)

    @virtually
    async def test() -> None:
        async with running(Doing(act), grace=1) as engine:
            await engine.client.create(make_greeting())
            await asyncio.sleep(1)

    test()
    assert len(spans.get_finished_spans()) == 1


@virtually
async def test_without_a_provider_reconciles_go_on_untraced() -> None:
    greeter = Greeter()
    async with running(greeter) as engine:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
    assert greeter.calls


def test_where_the_api_is_not_installed_there_is_no_tracing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    assert load_tracing() is None


def test_importing_the_engine_imports_no_tracing() -> None:
    program = "import sys, miren.reconcile.engine; print('opentelemetry' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ran.stdout == b"False\n"
