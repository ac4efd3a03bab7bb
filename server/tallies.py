"""Counters and histograms for /metrics that cost a step next to nothing. Know nothing of what is counted.

prometheus_client's own take a lock each time, and look for an observation's bucket one by one: with them counting took
a hundredth of the engine's time. Here each series is written by one thread, so it needs no lock.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString


class Tally:
    """One series of a counter.

    Attributes:
        total: the count.
    """

    def __init__(self) -> None:
        self.total = 0.0

    def inc(self, amount: float) -> None:
        """Count so many more; from one thread only."""
        self.total += amount


class Counter:
    """Series of one name, one for each tuple of labels' values.

    Args:
        name: of the metric.
        documentation: what it counts, a sentence.
        labelnames: of its labels.
        registry: that shows it.
    """

    def __init__(
        self, name: str, documentation: str, labelnames: Sequence[str], *, registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labelnames = labelnames
        self._series: dict[tuple[str, ...], Tally] = {}
        registry.register(self)

    def labels(self, *values: str) -> Tally:
        """The series of these values, made when there is none."""
        return self._series.setdefault(values, Tally())

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What the registry shows."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labelnames)
        for values, series in list(self._series.items()):
            family.add_metric(values, series.total)
        yield family


class Observations:
    """One series of a histogram.

    Args:
        bounds: the upper bounds of the buckets but the last, which has none, in rising order.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)  # by bucket
        self._sum = 0.0

    def observe(self, amount: float) -> None:
        """Count one more; from one thread only."""
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._sum += amount

    def shown(self) -> tuple[list[tuple[str, float]], float]:
        """Up to each bucket's bound how many there are, and the sum of all."""
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        return list(zip(names, accumulate(self._counts), strict=True)), self._sum


class Histogram:
    """Series of one name, one for each tuple of labels' values.

    Args:
        name: of the metric.
        documentation: what it measures, a sentence.
        labelnames: of its labels.
        buckets: see Observations.
        registry: that shows it.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Sequence[str],
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labelnames = labelnames
        self._bounds = tuple(buckets)
        self._series: dict[tuple[str, ...], Observations] = {}
        registry.register(self)

    def labels(self, *values: str) -> Observations:
        """The series of these values, made when there is none."""
        return self._series.setdefault(values, Observations(self._bounds))

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What the registry shows."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labelnames)
        for values, series in list(self._series.items()):
            family.add_metric(values, *series.shown())
        yield family
