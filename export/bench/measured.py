"""What was measured of a model, and the choice that follows. Knows figures, no clock and no backends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import median, quantiles
from typing import Any

from export.bench.cases import Case
from export.bench.timing import median_ratio
from runtime.choice import Choice


@dataclass(frozen=True)
class Measured:
    """One case.

    Attributes:
        case: what was timed.
        seconds: variant -> seconds of a call, one figure for each round, side by side.
        failures: variant -> why it could not run the case.
    """

    case: Case
    seconds: Mapping[Choice, list[float]]
    failures: Mapping[Choice, str]

    def microseconds(self, variant: Choice) -> float | None:
        """Median of the rounds; None where it failed."""
        return median(self.seconds[variant]) * 1e6 if variant in self.seconds else None

    def figures(self, reference: Choice) -> list[dict[str, Any]]:
        """For the record: one entry for each variant."""
        entries: list[dict[str, Any]] = []
        for variant, rounds in self.seconds.items():
            low, middle, high = quantiles(rounds, n=4) if len(rounds) > 1 else rounds * 3
            entry: dict[str, Any] = {
                "case": str(self.case),
                "backend": variant.backend,
                "set": variant.set,
                "median_us": round(middle * 1e6, 2),
                "quartiles_us": [round(low * 1e6, 2), round(high * 1e6, 2)],
            }
            if reference in self.seconds:
                entry["ratio"] = round(median_ratio(rounds, self.seconds[reference]), 4)
            entries.append(entry)
        return entries


def chosen(measured: Sequence[Measured], variants: Sequence[Choice]) -> Choice:
    """The variant with the smallest geometric mean of its times, each as a multiple of that of the case's fastest.

    Only decisive cases count, and a variant that failed in one of them is out.

    Args:
        measured: every case.
        variants: at least one that ran everywhere.
    """
    decisive = [item for item in measured if item.case.is_decisive]
    able = [variant for variant in variants if all(variant in item.seconds for item in decisive)]
    fastest = {item.case: min(median(rounds) for rounds in item.seconds.values()) for item in decisive}
    return min(
        able,
        key=lambda variant: exp(
            sum(log(median(item.seconds[variant]) / fastest[item.case]) for item in decisive) / len(decisive)
        ),
    )
