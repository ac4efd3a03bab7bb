"""The learning rate's course over a run, as a factor of the highest rate."""

import math

from training.recipe import ScheduleSection

FIRST = 1 / 25  # where one-cycle begins
LAST = 1e-4  # where one-cycle and cosine end


def factor(section: ScheduleSection, step: int, total: int) -> float:
    """The factor on the learning rate for an update.

    one-cycle (Smith & Topin 2018) rises from 1/25 over the warm-up and falls to 1/10000, both along a cosine;
    cosine (Loshchilov & Hutter 2017) falls in the same way after a linear warm-up; constant stays after one.

    Args:
        section: kind and share of warm-up.
        step: updates made before this one, 0 .. total.
        total: updates of the whole run.

    Returns:
        0 < factor <= 1.
    """
    warmup = section.warmup_share * total
    if step < warmup:
        if section.kind == "one-cycle":
            return _cosine(FIRST, 1.0, step / warmup)
        return (step + 1) / math.ceil(warmup)
    if section.kind == "constant":
        return 1.0
    return _cosine(1.0, LAST, min(1.0, (step - warmup) / max(1.0, total - 1 - warmup)))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
