"""What a histogram of the server's /metrics says about the time between two looks."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Histogram:
    """Observations in buckets.

    Attributes:
        marks: (upper bound, observations up to it), ascending; the last bound is infinite.
        total: of all observed values.
    """

    marks: tuple[tuple[float, float], ...]
    total: float

    @classmethod
    def between(
        cls, before: Mapping[str, float], after: Mapping[str, float], name: str, labels: str = ""
    ) -> "Histogram":
        """What was observed between two looks at the metrics.

        Args:
            before: Server.metrics() then.
            after: Server.metrics() now.
            name: the histogram's.
            labels: its other labels than `le`, as they stand in the text, such as model="a/1".

        Raises:
            KeyError: there is no such histogram.
        """
        total = f"{name}_sum{{{labels}}}" if labels else f"{name}_sum"
        marks: dict[float, float] = {}
        for key, value in after.items():
            if key.startswith(f"{name}_bucket{{") and labels in key:
                bound = key.partition('le="')[2].partition('"')[0]
                marks[float(bound)] = value - before.get(key, 0.0)
        return cls(tuple(sorted(marks.items())), after[total] - before.get(total, 0.0))

    @property
    def mean(self) -> float:
        """Of the observed values; 0 when there are none."""
        count = self.marks[-1][1]
        return self.total / count if count else 0.0

    def quantile(self, share: float) -> float:
        """The value below which this share of the observations lies, as if they were even inside a bucket.

        As histogram_quantile of Prometheus: of the last bucket its lower bound; 0 when there are none.
        """
        wanted = share * self.marks[-1][1]
        lower, below = 0.0, 0.0
        for bound, up_to in self.marks:
            if up_to >= wanted and up_to > below:
                if bound == float("inf"):
                    return lower
                return lower + (bound - lower) * (wanted - below) / (up_to - below)
            lower, below = bound, up_to
        return 0.0
