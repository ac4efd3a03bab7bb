"""The range of a ReLU state, which nothing bounds: measured on text that the model itself writes.

A bundle carries no data, so the model samples its own (float32, numpy, seeded): 32 sequences of 128 tokens. The bound
is the largest value seen, or, if the tail is long, the 99.99th percentile times 1.25; what lies above is clipped, and
the clipped share is reported.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.quantize.cells import CellWeights
from export.quantize.linear import Floats

NUM_SEQUENCES = 32
NUM_STEPS = 128


@dataclass(frozen=True)
class ReluRange:
    """One layer's hidden range.

    Attributes:
        bound: values above it are clipped.
        clipped_share: share of the positive values seen that lie above, 0..1.
    """

    bound: float
    clipped_share: float


def relu_ranges(
    embedding: Floats, cells: list[CellWeights], head: Floats, head_bias: Floats, seed: int = 0
) -> list[ReluRange]:
    """Measure each layer's range.

    Args:
        embedding: float32 [vocabulary, input].
        cells: the layers.
        head: float32 [vocabulary, hidden].
        head_bias: float32 [vocabulary].
        seed: of the sampling.
    """
    generator = np.random.default_rng(seed)
    tokens = generator.integers(len(embedding), size=NUM_SEQUENCES)
    states = [np.zeros((NUM_SEQUENCES, cell.recurrent.shape[1]), np.float32) for cell in cells]
    seen: list[list[Floats]] = [[] for _ in cells]
    for _ in range(NUM_STEPS):
        value = embedding[tokens]
        for layer, cell in enumerate(cells):
            total = value @ cell.input.T + states[layer] @ cell.recurrent.T + cell.input_bias + cell.recurrent_bias
            states[layer] = value = np.maximum(total, 0)
            seen[layer].append(value)
        tokens = _sampled(value @ head.T + head_bias, generator)
    return [_range_of(np.concatenate(values)) for values in seen]


def _sampled(logits: Floats, generator: np.random.Generator) -> NDArray[np.int64]:
    """One draw from each row's softmax, by its inverse distribution function."""
    shares = np.cumsum(np.exp(logits - logits.max(axis=1, keepdims=True)), axis=1)
    drawn = generator.random((len(logits), 1), dtype=np.float32) * shares[:, -1:]
    chosen: NDArray[np.int64] = np.minimum((shares <= drawn).sum(axis=1), logits.shape[1] - 1)
    return chosen


def _range_of(values: Floats) -> ReluRange:
    positive = values[values > 0]
    if positive.size == 0:
        return ReluRange(bound=1.0, clipped_share=0.0)
    bound = min(float(positive.max()), 1.25 * float(np.quantile(positive, 0.9999)))
    return ReluRange(bound=bound, clipped_share=float((positive > bound).mean()))
