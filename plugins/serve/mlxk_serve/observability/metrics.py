"""Metrics of one server for Prometheus, in a registry of its own. Extensions add theirs to the same registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from mlxk_serve.observability.log import LOGGER

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which no query uses

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_PLAIN_0_0_4

Samples = Iterable[tuple[Mapping[str, str], float]]
"""Pairs of labels and value."""


class Counter(Protocol):
    """A number that only grows, one for each combination of label values."""

    def add(self, amount: float = 1, **labels: str) -> None: ...


class _Counter:
    def __init__(self, counter: prometheus_client.Counter) -> None:
        self._counter = counter

    def add(self, amount: float = 1, **labels: str) -> None:
        (self._counter.labels(**labels) if labels else self._counter).inc(amount)


class _Reader(Collector):
    """A metric that is read for each scrape. One that cannot be read is left out of it."""

    def __init__(self, family: Callable[[], Metric], read: Callable[[], Samples]) -> None:
        self._family = family
        self._read = read

    def describe(self) -> Iterable[Metric]:
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        try:
            samples = list(self._read())
        except Exception:
            LOGGER.debug("a metric could not be read", exc_info=True)
            return []
        family = self._family()
        suffix = "_total" if family.type == "counter" else ""
        for labels, value in samples:
            family.add_sample(family.name + suffix, {name: str(text) for name, text in labels.items()}, value)
        return [family]


class MetricRegistry:
    """The metrics of one server, by name. Every method that registers raises `ValueError` for a name that is taken."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._collectors: dict[str, Collector] = {}

    def counter(self, name: str, help: str, *, labels: Sequence[str] = ()) -> Counter:
        """Register a counter; `add` needs a value for each of `labels`."""
        counter = prometheus_client.Counter(name, help, labels, registry=None)
        self._register(name, counter)
        return _Counter(counter)

    def histogram(self, name: str, help: str, *, bounds: Sequence[float]) -> prometheus_client.Histogram:
        """Register a histogram with these upper bounds."""
        histogram = prometheus_client.Histogram(name, help, registry=None, buckets=tuple(bounds))
        self._register(name, histogram)
        return histogram

    def gauge(self, name: str, help: str, read: Callable[[], Samples]) -> None:
        """Register a gauge that `read` returns for each scrape."""
        self._register(name, _Reader(lambda: GaugeMetricFamily(name, help), read))

    def total(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Register a counter that is kept elsewhere and read for each scrape."""
        self._register(name, _Reader(lambda: CounterMetricFamily(name, help), lambda: [({}, read())]))

    def names(self) -> set[str]:
        """Return the registered names."""
        return set(self._collectors)

    def remove(self, names: Iterable[str]) -> None:
        """Unregister metrics."""
        for name in names:
            self._registry.unregister(self._collectors.pop(name))

    def render(self) -> bytes:
        """Return the text that a scraper reads."""
        return prometheus_client.generate_latest(self._registry)

    def _register(self, name: str, collector: Collector) -> None:
        self._registry.register(collector)
        self._collectors[name] = collector
