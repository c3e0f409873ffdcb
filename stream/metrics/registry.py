"""The metrics of one command: counts are read from the ledgers at each scrape, histograms kept as values come.

Nothing is counted twice: a counter of the table is a number of a ledger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from offramp.stream.metrics.table import TABLE, Metric, MetricKind

Reading = tuple[str, float, tuple[str, ...]]
"""A metric's name, its value, and the values of its labels in the table's order."""

Read = Callable[[], Iterable[Reading]]
Family = CounterMetricFamily | GaugeMetricFamily


class Metrics(Collector):
    """The metrics of a command in a Prometheus `registry`: its rows of the table.

    `read_from` adds sources of counters and gauges; `observe` takes the values of histograms, from any thread; url:
    where they are served, if they are.
    """

    def __init__(self, command: str) -> None:
        self.url = ""
        self.rows = {metric.name: metric for metric in TABLE if command in metric.commands}
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._sources: list[Read] = []
        self._histograms = {
            metric.name: Histogram(
                metric.name, metric.about, metric.labels, buckets=metric.buckets, registry=self.registry
            )
            for metric in self.rows.values()
            if metric.kind is MetricKind.HISTOGRAM
        }
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def read_from(self, *sources: Read) -> None:
        """Add sources of readings, which are called at each scrape."""
        self._sources += sources

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Take a value of a histogram."""
        histogram = self._histograms[name]
        (histogram.labels(*labels) if labels else histogram).observe(value)

    def describe(self) -> Iterator[Family]:
        """Yield nothing: the names are the table's, and what has no value yet is not shown."""
        yield from ()

    def collect(self) -> Iterator[Family]:
        """Yield all counters and gauges that have a value now."""
        found: defaultdict[str, list[Reading]] = defaultdict(list)
        for source in self._sources:
            for reading in source():
                found[reading[0]].append(reading)
        for name, readings in found.items():
            yield _family(self.rows[name], readings)


def _family(metric: Metric, readings: Iterable[Reading]) -> Family:
    """Return a metric with its values. Raises ValueError where labels are not those of the table."""
    made = CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily
    family = made(metric.name, metric.about, labels=metric.labels)
    for _, value, labels in readings:
        if len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name}: labels {labels}, the table says {metric.labels}")
        family.add_metric(labels, value)
    return family
