"""The run's log: one line of JSON for each epoch."""

import json
from collections.abc import Iterable

from training.progress import EpochFigures


def epoch_lines(history: Iterable[EpochFigures]) -> str:
    """JSON lines of the epochs' figures."""
    return "".join(json.dumps(figures.flat()) + "\n" for figures in history)
