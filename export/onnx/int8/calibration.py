"""The range of a ReLU state, which nothing bounds: measured in float32 on sequences made for the purpose.

A bundle carries no data, so a language model samples its own text, and stacks that read (encoders, classifiers) are
given random tokens. The bound is the largest value seen, or, if the tail is long, the 99.99th percentile times 1.25;
what lies above is clipped, and the clipped share is reported.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.onnx.int8.cells import CellWeights
from export.onnx.int8.linear import TANH_EDGE, Edge, Floats, positive_edge
from models.cells import CellKind

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


def edges_of_layers(
    kind: CellKind, num_layers: int, ranges: "list[ReluRange] | None", notes: dict[str, Any], name: str
) -> list[Edge]:
    """How each layer's hidden state is quantised; measured ranges are noted under the stack's name."""
    if kind != "rnn-relu" or ranges is None:
        return [TANH_EDGE] * num_layers
    notes[f"{name}relu_ranges"] = [item.bound for item in ranges]
    notes[f"{name}relu_clipped_shares"] = [item.clipped_share for item in ranges]
    return [positive_edge(item.bound) for item in ranges]


def relu_ranges(
    embedding: Floats, cells: list[CellWeights], head: Floats, head_bias: Floats, seed: int = 0
) -> list[ReluRange]:
    """Measure each layer's range while the model writes: 32 sequences of 128 tokens.

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
            states[layer] = value = relu_step(cell, value, states[layer])
            seen[layer].append(value)
        tokens = _sampled(value @ head.T + head_bias, generator)
    return [range_of(np.concatenate(values)) for values in seen]


def relu_step(cell: CellWeights, value: Floats, state: Floats) -> Floats:
    """One time step of one layer: float32 [batch, input] and [batch, hidden] -> [batch, hidden]."""
    total = value @ cell.input.T + state @ cell.recurrent.T + cell.input_bias + cell.recurrent_bias
    new_state: Floats = np.maximum(total, 0)
    return new_state


def relu_outputs(inputs: Floats, cells: list[CellWeights], num_directions: int) -> list[Floats]:
    """Every layer's outputs over whole sequences.

    Args:
        inputs: float32 [time, batch, input].
        cells: of each layer and direction.
        num_directions: 1 or 2.

    Returns:
        For each layer float32 [time, batch, directions * hidden].
    """
    layers: list[Floats] = []
    for first in range(0, len(cells), num_directions):
        outputs = []
        for direction, cell in enumerate(cells[first : first + num_directions]):
            state = np.zeros((inputs.shape[1], cell.recurrent.shape[1]), np.float32)
            steps = []
            for value in inputs[:: -1 if direction else 1]:
                state = relu_step(cell, value, state)
                steps.append(state)
            outputs.append(np.stack(steps[:: -1 if direction else 1]))
        inputs = np.concatenate(outputs, axis=-1)
        layers.append(inputs)
    return layers


def reading_ranges(embedding: Floats, cells: list[CellWeights], num_directions: int, seed: int = 0) -> list[ReluRange]:
    """Measure each layer's range while the stack reads random tokens: 32 sequences of 128."""
    ids = np.random.default_rng(seed).integers(len(embedding), size=(NUM_STEPS, NUM_SEQUENCES))
    return [range_of(outputs) for outputs in relu_outputs(embedding[ids], cells, num_directions)]


def range_of(values: Floats) -> ReluRange:
    """The range of values seen."""
    positive = values[values > 0]
    if positive.size == 0:
        return ReluRange(bound=1.0, clipped_share=0.0)
    bound = min(float(positive.max()), 1.25 * float(np.quantile(positive, 0.9999)))
    return ReluRange(bound=bound, clipped_share=float((positive > bound).mean()))


def _sampled(logits: Floats, generator: np.random.Generator) -> NDArray[np.int64]:
    """One draw from each row's softmax, by its inverse distribution function."""
    shares = np.cumsum(np.exp(logits - logits.max(axis=1, keepdims=True)), axis=1)
    drawn = generator.random((len(logits), 1), dtype=np.float32) * shares[:, -1:]
    chosen: NDArray[np.int64] = np.minimum((shares <= drawn).sum(axis=1), logits.shape[1] - 1)
    return chosen
