"""The ranges of a ReLU decoder, measured in float32 on random sources and random target tokens (see calibration)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.onnx.int8.calibration import NUM_SEQUENCES, ReluRange, range_of, relu_outputs, relu_step
from export.onnx.int8.cells import CellWeights
from export.onnx.int8.linear import Floats
from models.config import TranslatorConfig

NUM_STEPS = 48
_SOURCE_LENGTH = 24


def decoder_ranges(
    config: TranslatorConfig,
    weights: dict[str, Floats],
    source_embedding: Floats,
    target_embedding: Floats,
    encoder_cells: list[CellWeights],
    decoder_cells: list[CellWeights],
    seed: int = 0,
) -> list[ReluRange]:
    """Measure each decoder layer's range: 32 sources of 24 tokens, 48 target tokens each.

    Args:
        config: the architecture, of kind rnn-relu.
        weights: float32 parameters by PyTorch name.
        source_embedding: float32 [V, E].
        target_embedding: float32 [V, E].
        encoder_cells: of each layer and direction.
        decoder_cells: of each layer.
        seed: of the random tokens.
    """
    generator = np.random.default_rng(seed)
    sources = generator.integers(len(source_embedding), size=(_SOURCE_LENGTH, NUM_SEQUENCES))
    outputs = relu_outputs(source_embedding[sources], encoder_cells, config.encoder.num_directions)[-1]
    memory = outputs.transpose(1, 0, 2)
    states = _first_states(config, weights, outputs)
    feed = np.zeros((NUM_SEQUENCES, config.output_size), np.float32)
    seen: list[list[Floats]] = [[] for _ in decoder_cells]
    for _ in range(NUM_STEPS):
        value = target_embedding[generator.integers(len(target_embedding), size=NUM_SEQUENCES)]
        if config.input_feeding:
            value = np.concatenate([value, feed], axis=1)
        for layer, cell in enumerate(decoder_cells):
            states[layer] = value = relu_step(cell, value, states[layer])
            seen[layer].append(value)
        if config.input_feeding:
            feed = _attentional(config, weights, value, memory)
    return [range_of(np.concatenate(values)) for values in seen]


def _first_states(config: TranslatorConfig, weights: dict[str, Floats], outputs: Floats) -> list[Floats]:
    if config.bridge == "zero":
        return [np.zeros((NUM_SEQUENCES, config.hidden_size), np.float32) for _ in range(config.num_layers)]
    size = config.encoder_size
    final = outputs[-1].copy()
    final[:, size:] = outputs[0][:, size:]  # the backward direction ends at the first token
    row = np.maximum(np.tanh(final @ weights["bridge.weight"].T + weights["bridge.bias"]), 0)
    return np.split(row, config.num_layers, axis=1)


def _attentional(config: TranslatorConfig, weights: dict[str, Floats], hidden: Floats, memory: Floats) -> Floats:
    """tanh(W [context; h]), float32 [batch, output_size]; no source is padded here."""
    keys = memory @ weights["keys.weight"].T
    if config.attention == "additive":
        query = hidden @ weights["query.weight"].T + weights["query.bias"]
        scores: NDArray[np.floating[Any]] = np.tanh(query[:, None] + keys) @ weights["score_vector"]
    else:
        scores = (keys @ hidden[:, :, None])[:, :, 0]
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    context = (shares[:, None] @ memory)[:, 0] / shares.sum(axis=1, keepdims=True)
    result: Floats = np.tanh(np.concatenate([context, hidden], axis=1) @ weights["combine.weight"].T)
    return result
