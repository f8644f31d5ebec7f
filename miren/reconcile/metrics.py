"""What an engine can be measured by, under the names that controller-runtime's dashboards use.

    workqueue_depth{name="web", controller="web", priority="0"} 3

Nothing is kept for it but plain numbers in queues, runners and caches: samples are made of these
when somebody asks. `METRICS` says what each name means; `miren.reconcile.prometheus` is how
Prometheus gets them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from miren.reconcile.compiled import Compiled
from miren.reconcile.durations import Durations
from miren.reconcile.informer import Informer
from miren.reconcile.leading import Seat
from miren.reconcile.runner import Runner
from miren.reconcile.sharding import Shards
from miren.reconcile.tally import Result

__all__ = ["METRICS", "Histogram", "Metric", "MetricType", "Sample", "samples_of"]


class MetricType(StrEnum):
    """How a metric's values go on from one sample to the next."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """What samples of one name mean, and the labels that each of them has."""

    type: MetricType
    doc: str
    labels: tuple[str, ...] = ("controller",)


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many there were up to each bound (the last is infinite), and their sum in seconds."""

    buckets: tuple[tuple[float, int], ...]
    sum: float

    @property
    def count(self) -> int:
        """How many there were."""
        return self.buckets[-1][1]


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric; a Histogram where that is its type."""

    name: str
    value: float | Histogram
    labels: Mapping[str, str] = field(default_factory=dict)


_COUNTER, _GAUGE, _HISTOGRAM = MetricType
_QUEUE = ("name", "controller")
_CACHE = ("kind", "version", "selected")

#: Every metric by its name, in the order in which samples come.
METRICS: Mapping[str, Metric] = {
    "workqueue_depth": Metric(_GAUGE, "Keys that are ready, by priority", (*_QUEUE, "priority")),
    "workqueue_adds_total": Metric(_COUNTER, "Keys that became ready", _QUEUE),
    "workqueue_queue_duration_seconds": Metric(
        _HISTOGRAM, "How long keys were ready before they were taken", _QUEUE
    ),
    "workqueue_work_duration_seconds": Metric(
        _HISTOGRAM, "How long keys were in work, waits for caches included", _QUEUE
    ),
    "workqueue_retries_total": Metric(_COUNTER, "Failures that were backed off", _QUEUE),
    "workqueue_unfinished_work_seconds": Metric(
        _GAUGE, "How long all keys in work have been so, added up", _QUEUE
    ),
    "workqueue_longest_running_processor_seconds": Metric(
        _GAUGE, "How long the key has been in work that has been so longest", _QUEUE
    ),
    "miren_oldest_ready_seconds": Metric(
        _GAUGE, "How long the key has been ready that has been so longest"
    ),
    "controller_runtime_reconcile_total": Metric(
        _COUNTER, "Reconciles by how they ended", ("controller", "result")
    ),
    "controller_runtime_reconcile_errors_total": Metric(
        _COUNTER, "Reconciles that ended with an error"
    ),
    "controller_runtime_terminal_reconcile_errors_total": Metric(
        _COUNTER, "Those of them that said Permanent, and are not tried again"
    ),
    "controller_runtime_reconcile_panics_total": Metric(
        _COUNTER, "Those of them that nobody expected: errors outside of the tree of MirenError"
    ),
    "controller_runtime_reconcile_timeouts_total": Metric(
        _COUNTER, "Those of them that took too long"
    ),
    "controller_runtime_reconcile_time_seconds": Metric(_HISTOGRAM, "How long reconciles took"),
    "controller_runtime_max_concurrent_reconciles": Metric(
        _GAUGE, "How many keys are reconciled at once, at most"
    ),
    "controller_runtime_active_workers": Metric(_GAUGE, "How many keys are in work"),
    "miren_daemons": Metric(_GAUGE, "Daemons that run"),
    "miren_leader": Metric(_GAUGE, "1 while this engine leads (any slot of) it", ("election",)),
    "miren_cache_entities": Metric(_GAUGE, "Entities in the cache", _CACHE),
    "miren_watch_following": Metric(_GAUGE, "1 while the watch is open", _CACHE),
    "miren_watch_lag_seconds": Metric(
        _GAUGE, "Time since the cache last knew that it was current; quiet kinds have some", _CACHE
    ),
}


def samples_of(
    runners: Iterable[Runner[Any]], informers: Iterable[Informer[Any]]
) -> tuple[Sample, ...]:
    """Return samples of everything in `METRICS`, those of one name together.

    To be called in the event loop that these work in.
    """
    named = [(runner.controller.name, runner) for runner in runners]
    found = [
        *(sample for name, runner in named for sample in _of_queue(name, runner)),
        *(sample for name, runner in named for sample in _of_reconciles(name, runner)),
        *_of_elections(runner for _, runner in named),
        *(sample for informer in informers for sample in _of_cache(informer)),
    ]
    order = {name: place for place, name in enumerate(METRICS)}
    return tuple(sorted(found, key=lambda sample: order[sample.name]))


def _of_queue(controller: str, runner: Runner[Any]) -> Iterator[Sample]:
    queue, labels = runner.queue, {"name": controller, "controller": controller}
    for priority, depth in {0: 0, **queue.depths()}.items():
        yield Sample("workqueue_depth", depth, {**labels, "priority": str(priority)})
    unfinished, longest = queue.unfinished()
    values: Mapping[str, float | Histogram] = {
        "adds_total": queue.adds,
        "queue_duration_seconds": _histogram(queue.waits),
        "work_duration_seconds": _histogram(queue.works),
        "retries_total": queue.retries,
        "unfinished_work_seconds": unfinished,
        "longest_running_processor_seconds": longest,
    }
    for name, value in values.items():
        yield Sample(f"workqueue_{name}", value, labels)
    yield Sample("miren_oldest_ready_seconds", queue.oldest_wait(), {"controller": controller})


def _of_reconciles(controller: str, runner: Runner[Any]) -> Iterator[Sample]:
    tally, labels = runner.tally, {"controller": controller}
    for result, count in tally.results.items():
        name = "controller_runtime_reconcile_total"
        yield Sample(name, count, {**labels, "result": result.value})
    values: Mapping[str, float | Histogram] = {
        "reconcile_errors_total": tally.results[Result.ERROR],
        "terminal_reconcile_errors_total": tally.terminal,
        "reconcile_panics_total": tally.panics,
        "reconcile_timeouts_total": tally.timeouts,
        "reconcile_time_seconds": _histogram(tally.seconds),
        "max_concurrent_reconciles": type(runner.controller).settings.concurrency,
        "active_workers": runner.queue.handed_out - runner.queue.works.count,
    }
    for name, value in values.items():
        yield Sample(f"controller_runtime_{name}", value, labels)
    if isinstance(runner.controller, Compiled):
        yield Sample("miren_daemons", runner.controller.daemons, labels)


def _of_elections(runners: Iterable[Runner[Any]]) -> Iterator[Sample]:
    standing: dict[str, bool] = {}
    for runner in runners:
        permission = runner.permission
        if isinstance(permission, Seat):
            standing[permission.name] = permission.is_leading
        elif isinstance(permission, Shards):
            standing[runner.controller.name] = permission.is_leading
    for election, is_leading in standing.items():
        yield Sample("miren_leader", int(is_leading), {"election": election})


def _of_cache(informer: Informer[Any]) -> Iterator[Sample]:
    kind = informer.kind.kind
    labels = {"kind": str(kind), "version": kind.version, "selected": informer.selected}
    yield Sample("miren_cache_entities", len(informer), labels)
    yield Sample("miren_watch_following", int(informer.is_following), labels)
    yield Sample("miren_watch_lag_seconds", informer.lag, labels)


def _histogram(durations: Durations) -> Histogram:
    return Histogram(tuple(durations.buckets()), durations.total)
