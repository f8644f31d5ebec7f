"""A span for each reconcile, through the OpenTelemetry API, where that is installed.

Where it is not, a reconcile does nothing for it; where its program has set up no tracing, somebody
looks once a second whether it has by now. What a handler traces itself lies below the span of its
reconcile, for that is the current one meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from miren.entities.client import Client
from miren.entities.entity import Entity
from miren.reconcile.attempt import Attempt
from miren.reconcile.outcome import Outcome
from miren.reconcile.results import Permanent, Temporary

if TYPE_CHECKING:
    from opentelemetry.trace import Span

__all__ = ["Make", "Tracing", "load_tracing"]

E = TypeVar("E", bound=Entity[Any, Any])
#: Looking costs more than a reconcile that is not traced may cost.
_PERIOD = 1.0
#: `Attempts.make`.
Make = Callable[[E, Client | None], Awaitable[Attempt]]


class Tracing(Protocol):
    """Makes spans."""

    def around(self, make: Make[E], controller: str) -> Make[E]:
        """Return what makes an attempt inside of a span."""
        ...


def load_tracing() -> Tracing | None:
    """Return what makes spans, None where the OpenTelemetry API is not installed."""
    try:
        import opentelemetry.trace  # noqa: F401  # whether it is there, and whole
    except ImportError:
        return None
    return _OpenTelemetry()


class _OpenTelemetry:
    def around(self, make: Make[E], controller: str) -> Make[E]:
        from opentelemetry import trace

        tracer, name = trace.get_tracer("miren.reconcile"), f"reconcile {controller}"
        look_at = 0.0  # when to look next whether tracing was set up, for as long as it was not

        async def traced(entity: E, client: Client | None = None) -> Attempt:
            nonlocal look_at
            now = monotonic()
            if now < look_at:
                return await make(entity, client)
            if type(trace.get_tracer_provider()) is trace.ProxyTracerProvider:
                look_at = now + _PERIOD
                return await make(entity, client)
            with tracer.start_as_current_span(name) as span:
                if not span.is_recording():
                    return await make(entity, client)
                span.set_attributes({"miren.controller": controller, **_of_entity(entity)})
                attempt = await make(entity, client)
                _tell(span, attempt)
                return attempt

        return traced


def _of_entity(entity: Entity[Any, Any]) -> Mapping[str, str | int]:
    return {
        "miren.kind": entity.kind.name,
        "miren.project": entity.project,
        "miren.name": entity.name,
        "miren.revision": entity.revision,
        "miren.generation": entity.metadata.generation,
    }


def _tell(span: Span, attempt: Attempt) -> None:
    from opentelemetry.trace import StatusCode

    outcome = attempt.outcome
    span.set_attribute("miren.outcome", _in_a_word(outcome))
    if attempt.id:
        span.set_attribute("miren.reconcile", attempt.id)
    if outcome.requeue is not None:
        span.set_attribute("miren.requeue_after", outcome.requeue.after)
    if outcome.error is not None:
        span.record_exception(outcome.error)
        if not isinstance(outcome.error, Temporary):  # which is no failure, but a wait
            span.set_status(StatusCode.ERROR, str(outcome.error))


def _in_a_word(outcome: Outcome) -> str:
    match outcome.error:
        case None:
            return "done" if outcome.requeue is None else "requeue"
        case Temporary():
            return "temporary"
        case Permanent():
            return "permanent"
        case _:
            return "error"
