"""The golden vector: a short answer recorded when a graph set was built, which this machine must reproduce at load.

It checks kernels, not files (hashes do that): a runtime or CPU that computes something else is found before it serves.
Other machine types round differently, so the comparison has a tolerance.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.errors import RunnerError
from models.graph_set import Golden
from runtime.padding import padded
from runtime.runner import SequenceRunner, StepRunner

Floats = NDArray[np.float32]

NUM_TOKENS = 16
# Mean absolute difference allowed, as a share of the golden logits' standard deviation. One int8 rounding that falls
# the other way moves them by less than 0.01; a wrong kernel by about 1.
TOLERANCE = {"fp32": 1e-3, "int8": 0.1}


def language_model_answer(step: StepRunner, ids: Sequence[int], state_width: int) -> Floats:
    """Feed ids one by one from the zero state; the last call's logits, float32 [V]."""
    step.put(0, np.zeros(state_width, np.float32))
    return _decoded(step, ids)


def translator_answer(sequences: SequenceRunner, step: StepRunner, ids: Sequence[int]) -> Floats:
    """Encode ids, then feed them to the decoder one by one; the last call's logits, float32 [V]."""
    inputs, lengths = padded([ids])
    encoded = sequences.run("encode", {"ids": inputs, "lengths": lengths})
    memory = {name: encoded[name][0, : len(ids)] for name in ("memory", "keys")}
    step.put(0, encoded["state"][0], memory)
    return _decoded(step, ids)


def classifier_answer(sequences: SequenceRunner, ids: Sequence[int]) -> Floats:
    """Classify ids; logits, float32 [C]."""
    inputs, lengths = padded([ids])
    logits: Floats = sequences.run("classify", {"ids": inputs, "lengths": lengths})["logits"][0]
    return logits


def check_golden(set_name: str, golden: Golden, found: Floats) -> None:
    """Compare this machine's answer with the recorded one.

    Args:
        set_name: the graph set, for the tolerance and the message.
        golden: from the set's manifest.
        found: float32 [V] or [C], what this machine answers to golden.ids.

    Raises:
        RunnerError: the answer is another one.
    """
    expected = np.array(golden.logits, np.float32)
    error = float(np.abs(found - expected).mean() / max(float(expected.std()), 1e-6))
    allowed = TOLERANCE.get(set_name, 1e-2)
    if not error <= allowed:  # written so that NaN fails
        raise RunnerError(
            f"Graph set {set_name} does not reproduce its golden vector on this machine: mean difference {error:.3g} "
            f"of the logits' spread, allowed {allowed:g}. Use another set, or build it here again."
        )


def _decoded(step: StepRunner, ids: Sequence[int]) -> Floats:
    parent = np.zeros(1, np.int64)
    for token in ids:
        logits = step.step(np.array([token], np.int64), parent)
    last: Floats = logits[0].copy()
    return last
