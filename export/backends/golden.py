"""The golden vector: a short answer recorded when a graph set was built, which this machine must reproduce at load.

It checks kernels, not files (hashes do that): a runtime or CPU that computes something else is found before it serves.
Other machine types round differently, so the comparison has a tolerance.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from export.backends.runner import StepRunner
from models.errors import RunnerError
from models.graph_set import Golden

NUM_TOKENS = 16
# Mean absolute difference allowed, as a share of the golden logits' standard deviation. One int8 rounding that falls
# the other way moves them by less than 0.01; a wrong kernel by about 1.
TOLERANCE = {"fp32": 1e-3, "int8": 0.1}


def golden_logits(step: StepRunner, ids: Sequence[int], state_width: int) -> NDArray[np.float32]:
    """Feed ids one by one from the zero state; the last call's logits, float32 [V]."""
    step.put(0, np.zeros(state_width, np.float32))
    parent = np.zeros(1, np.int64)
    for token in ids:
        logits = step.step(np.array([token], np.int64), parent)
    last: NDArray[np.float32] = logits[0].copy()
    return last


def check_golden(set_name: str, golden: Golden, step: StepRunner, state_width: int) -> None:
    """Compare this machine's answer with the recorded one.

    Args:
        set_name: the graph set, for the tolerance and the message.
        golden: from the set's manifest.
        step: a runner over the set; its slots are overwritten.
        state_width: D.

    Raises:
        RunnerError: the answer is another one.
    """
    found = golden_logits(step, golden.ids, state_width)
    expected = np.array(golden.logits, np.float32)
    error = float(np.abs(found - expected).mean() / max(float(expected.std()), 1e-6))
    allowed = TOLERANCE.get(set_name, 1e-2)
    if not error <= allowed:  # written so that NaN fails
        raise RunnerError(
            f"Graph set {set_name} does not reproduce its golden vector on this machine: mean difference {error:.3g} "
            f"of the logits' spread, allowed {allowed:g}. Use another set, or build it here again."
        )
