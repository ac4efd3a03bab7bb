"""Variants of one computation timed in turn, so that a machine that slows down slows all of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

Calls = Mapping[str, Callable[[], object]]
Times = dict[str, list[float]]  # variant -> microseconds of one call in each round


def in_turn(variants: Calls, rounds: int, seconds: float) -> Times:
    """Microseconds for one call of each variant in each round.

    Args:
        variants: what is timed, by name.
        rounds: how often all of them are.
        seconds: how long each is called in a round, about; at least once.
    """
    times: Times = {name: [] for name in variants}
    counts: dict[str, int] = {}
    for name, call in variants.items():
        call()
        started = time.perf_counter()
        call()
        counts[name] = max(1, int(seconds / (time.perf_counter() - started)))
    for _ in range(rounds):
        for name, call in variants.items():
            started = time.perf_counter()
            for _ in range(counts[name]):
                call()
            times[name].append((time.perf_counter() - started) / counts[name] * 1e6)
    return times


def ratio(times: Times, slow: str, fast: str) -> float:
    """How many times as long one variant takes as another: the median of the rounds' ratios."""
    return median(a / b for a, b in zip(times[slow], times[fast], strict=True))


def fastest(times: Times, names: list[str]) -> str:
    """The variant with the smallest median."""
    return min(names, key=lambda name: median(times[name]))


def medians(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The median over the rounds of each figure that is a number in all of them."""
    found = {key: [each[key] for each in rounds] for key in rounds[0]}
    return {key: median(values) for key, values in found.items() if all(isinstance(it, int | float) for it in values)}
