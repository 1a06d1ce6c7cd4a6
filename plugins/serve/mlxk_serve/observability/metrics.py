"""Counts and durations as Prometheus reads them. Plugins add their own through the same registry."""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


class Counter:
    """A number that only grows, one for each combination of label values."""

    kind = "counter"

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._lock = threading.Lock()
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}

    def add(self, amount: float = 1, **labels: str) -> None:
        key = tuple(str(labels[name]) for name in self._labels)
        with self._lock:
            self._values[key] = self._values.get(key, 0.0) + amount

    def samples(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        with self._lock:
            values = dict(self._values)
        for key, value in sorted(values.items()):
            yield "", dict(zip(self._labels, key, strict=True)), value


class Gauge:
    """A number that is read when somebody asks: `read` gives pairs of labels and value."""

    kind = "gauge"

    def __init__(self, read: Callable[[], Iterable[tuple[Mapping[str, str], float]]]) -> None:
        self._read = read

    def samples(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        for labels, value in self._read():
            yield "", labels, value


class Histogram:
    """How often values fell below each of `bounds`."""

    kind = "histogram"

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(sorted(bounds))
        self._lock = threading.Lock()
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._sum += value

    def samples(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        with self._lock:
            counts, total = list(self._counts), self._sum
        below = 0
        for bound, count in zip((*self._bounds, float("inf")), counts, strict=True):
            below += count
            yield "_bucket", {"le": "+Inf" if bound == float("inf") else f"{bound:g}"}, below
        yield "_sum", {}, total
        yield "_count", {}, below


class Metric(Protocol):
    """Something to count. A sample is a suffix of the name, labels, and a value."""

    kind: str

    def samples(self) -> Iterable[tuple[str, Mapping[str, str], float]]: ...


class Registry:
    """All metrics of one server, by name. A name belongs to whoever took it first."""

    def __init__(self) -> None:
        self._metrics: dict[str, tuple[str, Metric]] = {}

    def counter(self, name: str, help: str, *, labels: Sequence[str] = ()) -> Counter:
        counter = Counter(labels)
        self.add(name, help, counter)
        return counter

    def gauge(self, name: str, help: str, read: Callable[[], Iterable[tuple[Mapping[str, str], float]]]) -> None:
        self.add(name, help, Gauge(read))

    def histogram(self, name: str, help: str, *, bounds: Sequence[float]) -> Histogram:
        histogram = Histogram(bounds)
        self.add(name, help, histogram)
        return histogram

    def add(self, name: str, help: str, metric: Metric) -> None:
        """Raises `ValueError` for a name that is taken or is none."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"`{name}` is no name of a metric")
        if name in self._metrics:
            raise ValueError(f"the metric {name} is there already")
        self._metrics[name] = (help, metric)

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            self._metrics.pop(name, None)

    def names(self) -> set[str]:
        return set(self._metrics)

    def render(self) -> str:
        """The text a scraper reads. A metric that cannot be read is left out."""
        lines = []
        for name, (help, metric) in sorted(self._metrics.items()):
            try:
                samples = list(metric.samples())
            except Exception:  # a plugin's gauge; the others are still worth having
                continue
            lines += [f"# HELP {name} {_escaped(help)}", f"# TYPE {name} {metric.kind}"]
            lines += [f"{name}{suffix}{_labels(labels)} {_number(value)}" for suffix, labels, value in samples]
        return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escaped(str(value)).replace(chr(34), chr(92) + chr(34))}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
