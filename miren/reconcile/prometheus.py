"""What Prometheus asks of engines, through `prometheus_client` (extra `metrics`).

    from prometheus_client import REGISTRY, start_http_server

    REGISTRY.register(EngineCollector(engine))
    start_http_server(9090)

Samples are made in the engine's event loop, whichever thread asks: that of `start_http_server` is
another one. An engine that does not run has no samples.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from miren.base.errors import DeadlineExceeded
from miren.reconcile.metrics import METRICS, Histogram, Metric, MetricType, Sample

try:
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )
    from prometheus_client.metrics_core import Metric as Family
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError("metrics for Prometheus need `pip install 'miren[metrics]'`") from error

if TYPE_CHECKING:
    from miren.reconcile.engine import Engine

__all__ = ["EngineCollector"]

#: How long a thread waits for the loop that an engine works in, in seconds.
_PATIENCE = 5.0
_FAMILIES: Mapping[
    MetricType, type[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]
] = {
    MetricType.COUNTER: CounterMetricFamily,
    MetricType.GAUGE: GaugeMetricFamily,
    MetricType.HISTOGRAM: HistogramMetricFamily,
}


class EngineCollector(Collector):
    """The metrics of an engine, or of several by names that become the label `engine`.

    Collecting raises DeadlineExceeded when an engine's loop has been busy for 5 seconds.
    """

    def __init__(self, engines: Engine | Mapping[str, Engine]) -> None:
        self._is_one = not isinstance(engines, Mapping)
        self._engines = engines if isinstance(engines, Mapping) else {"": engines}

    def describe(self) -> Iterable[Family]:
        """Return every metric without samples: a registry looks for names that clash."""
        return [self._family(name, metric) for name, metric in METRICS.items()]

    def collect(self) -> Iterator[Family]:
        """Yield every metric with its samples."""
        families = {name: self._family(name, metric) for name, metric in METRICS.items()}
        for name, engine in self._engines.items():
            own = () if self._is_one else (name,)
            for sample in _samples(engine):
                _add(families[sample.name], sample, own)
        yield from families.values()

    def _family(self, name: str, metric: Metric) -> Family:
        labels = [*([] if self._is_one else ["engine"]), *metric.labels]
        return _FAMILIES[metric.type](name, metric.doc, labels=labels)


def _add(family: Family, sample: Sample, own: Sequence[str]) -> None:
    labels = [*own, *(sample.labels[name] for name in METRICS[sample.name].labels)]
    value = sample.value
    if isinstance(family, HistogramMetricFamily) and isinstance(value, Histogram):
        buckets = [
            ("+Inf" if math.isinf(bound) else f"{bound:g}", count)
            for bound, count in value.buckets
        ]
        family.add_metric(labels, buckets=buckets, sum_value=value.sum)
    elif isinstance(family, CounterMetricFamily | GaugeMetricFamily):
        assert not isinstance(value, Histogram), sample.name
        family.add_metric(labels, value)


def _bound(seconds: float) -> str:
    return "+Inf" if math.isinf(seconds) else f"{seconds:g}"


def _samples(engine: Engine) -> Sequence[Sample]:
    loop = engine.loop
    if loop is None or loop.is_closed():
        return ()
    if loop is _running_loop():
        return engine.metrics()
    answer: Future[Sequence[Sample]] = Future()

    def ask() -> None:
        try:
            answer.set_result(engine.metrics())
        except Exception as error:
            answer.set_exception(error)

    try:
        loop.call_soon_threadsafe(ask)
    except RuntimeError:  # it was closed just now
        return ()
    try:
        return answer.result(timeout=_PATIENCE)
    except TimeoutError:
        told = f"the engine's event loop did not answer within {_PATIENCE:g} s"
        raise DeadlineExceeded(told, hint="something blocks it") from None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
