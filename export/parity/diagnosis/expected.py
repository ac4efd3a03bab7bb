"""The bundle's weight matrices as graphs may hold them: what each is called, its gates, its segments of columns."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.onnx.int8.embedding import has_table
from models.cells import CellKind, cell_of
from models.config import ClassifierConfig, LanguageModelConfig, RecurrentConfig, TaggerConfig, TranslatorConfig
from models.forecaster import ForecasterConfig

Floats = NDArray[np.float32]
KnownConfig = LanguageModelConfig | TranslatorConfig | ClassifierConfig | TaggerConfig | ForecasterConfig

# The order in which int8 sets hold gates, where it is not PyTorch's (export.onnx.int8.cells).
INT8_ORDER = {"lstm": "ifoc"}


@dataclass(frozen=True)
class ExpectedWeight:
    """A matrix that a product of a graph may hold.

    Attributes:
        name: for messages: the PyTorch names of its parameters.
        segments: float32 [rows, columns] each, side by side; in int8 each may have a scale of its own.
        gates: letters of its blocks of rows in PyTorch's order; "" when it has no gates.
        order: the same letters as the set holds them.
    """

    name: str
    segments: tuple[Floats, ...]
    gates: str = ""
    order: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.segments[0]), sum(segment.shape[1] for segment in self.segments)

    def arranged(self) -> tuple[Floats, ...]:
        """The segments with their gates in the set's order."""
        if len(self.gates) < 2:
            return self.segments
        return tuple(
            np.concatenate([np.split(segment, len(self.gates))[self.gates.index(gate)] for gate in self.order])
            for segment in self.segments
        )


def expected_weights(config: KnownConfig, weights: dict[str, Floats], set_name: str) -> Iterator[ExpectedWeight]:
    """Every matrix of the bundle, whole and in the parts and joins that graphs hold.

    Args:
        config: the architecture.
        weights: float32 parameters by PyTorch name.
        set_name: decides the order of gates.
    """
    recurrent: set[str] = set()
    for prefix, stack, embeddings in _stacks(config):
        cell = cell_of(stack.kind)
        gates = cell.gates
        order = INT8_ORDER.get(stack.kind, gates) if set_name == "int8" else cell.onnx_gates
        token_widths = [weights[name].shape[1] for name in embeddings]
        for layer in range(stack.num_layers):
            for suffix in ("", "_reverse")[: stack.num_directions]:
                names = [f"{prefix}.layers.{part}_l{layer}{suffix}" for part in ("weight_ih", "weight_hh", "bias_ih")]
                recurrent.update(names)
                wx, wh = weights[names[0]], weights[names[1]]
                ends: list[int] = np.cumsum(token_widths).tolist() if layer == 0 else []
                parts = tuple(np.split(wx, [end for end in ends if end < wx.shape[1]], axis=1))
                yield ExpectedWeight(names[0], parts, gates, order)
                yield ExpectedWeight(names[1], (wh,), gates, order)
                yield ExpectedWeight(f"{names[0]} and {names[1]}", (*parts, wh), gates, order)
                if layer == 0 and set_name == "int8":
                    bias = _token_bias(stack.kind, weights, f"{prefix}.layers", suffix)
                    for number, (embedding, part) in enumerate(zip(embeddings, parts, strict=False)):
                        if has_table(weights[embedding], part):
                            table = weights[embedding] @ part.T + (bias if number == 0 else 0)
                            yield ExpectedWeight(f"{names[0]} times {embedding}", (table.T.copy(),), gates, order)
                for part in parts if len(parts) > 1 else ():
                    yield ExpectedWeight(f"a part of {names[0]}", (part,), gates, order)
    memory = config.memory_width if isinstance(config, TranslatorConfig) else 0
    for name, weight in weights.items():
        if weight.ndim == 2 and name not in recurrent:
            segments = np.split(weight, [memory], axis=1) if name == "combine.weight" else [weight]
            yield ExpectedWeight(name, tuple(segments))


def _stacks(config: KnownConfig) -> list[tuple[str, RecurrentConfig, list[str]]]:
    """(prefix, stack, names of the embeddings that it reads, one after the other) of each stack."""
    match config:
        case LanguageModelConfig() | ClassifierConfig():
            return [("recurrent", config.recurrent, ["embedding.weight"])]
        case TaggerConfig():
            tables = [f"embedding.tables.{number}.weight" for number in range(len(config.field_sizes))]
            return [("recurrent", config.recurrent, tables)]
        case ForecasterConfig():
            return [("recurrent", config.recurrent, [])]
        case TranslatorConfig():
            target = "source_embedding.weight" if config.shared_embeddings else "target_embedding.weight"
            return [("encoder", config.encoder, ["source_embedding.weight"]), ("decoder", config.decoder, [target])]


def _token_bias(kind: CellKind, weights: dict[str, Floats], prefix: str, suffix: str) -> Floats:
    """The bias that an int8 table of layer 0 holds: both, but for a GRU's b_hh of the candidate."""
    input_bias, state_bias = (weights[f"{prefix}.{name}_l0{suffix}"] for name in ("bias_ih", "bias_hh"))
    if kind == "gru":
        state_bias = state_bias.copy()
        state_bias[2 * len(state_bias) // 3 :] = 0
    total: Floats = input_bias + state_bias
    return total
