"""Paired timing: in every round each variant runs once, so that what else the machine does meets all alike."""

import time
from collections.abc import Callable, Mapping
from statistics import median

Call = Callable[[], object]
ROUNDS = 9
_BLOCK_SECONDS = 0.02  # about as long as one variant runs in a round
_MAX_CALLS = 1000


def paired_seconds(calls: Mapping[str, Call], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of a call, for each variant and round.

    Args:
        calls: variant -> what is timed.
        rounds: how often each is timed; they take turns, and the first moves on by one from round to round.

    Returns:
        variant -> one figure for each round, round i of all variants measured side by side.
    """
    names = list(calls)
    blocks = {name: _block(call) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for place in range(len(names)):
            name = names[(turn + place) % len(names)]
            seconds[name].append(_timed(calls[name], blocks[name]))
    return seconds


def median_ratio(seconds: list[float], reference: list[float]) -> float:
    """How many times as long as the reference, by the median over rounds."""
    return median(ours / theirs for ours, theirs in zip(seconds, reference, strict=True))


def _block(call: Call) -> int:
    """How many calls make a block; warms up on the way."""
    call()
    once = max(_timed(call, 2), 1e-7)
    return max(1, min(_MAX_CALLS, round(_BLOCK_SECONDS / once)))


def _timed(call: Call, count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - started) / count
