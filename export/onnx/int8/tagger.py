"""The tagger in int8: the stack's products in integers, the head in float32."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from export.onnx.graph import OnnxGraph
from export.onnx.int8.calibration import edges_of_layers, reading_ranges
from export.onnx.int8.cells import CellWeights, InputTerm, input_bias
from export.onnx.int8.embedding import embedding_term, has_table
from export.onnx.int8.linear import Floats, dequantize
from export.onnx.int8.stack import QuantizedStack, cell_weights
from models.config import TaggerConfig


class QuantizedTagger:
    """Ranges and weights, ready to be written as a graph.

    Args:
        config: the architecture.
        weights: float32 parameters by PyTorch name.

    Attributes:
        notes: facts of the quantisation worth keeping in the manifest.
    """

    def __init__(self, config: TaggerConfig, weights: dict[str, Floats]) -> None:
        self.config = config
        self._weights = weights
        self._tables = [weights[f"embedding.tables.{i}.weight"] for i in range(len(config.field_sizes))]
        stack = config.recurrent
        cells = cell_weights(stack, weights, "recurrent")
        parts = zip(self._tables, self._columns(cells[0].input), strict=True)
        self.notes: dict[str, Any] = {"folded_input_tables": [has_table(table, part) for table, part in parts]}
        is_relu = config.kind == "rnn-relu"
        ranges = reading_ranges(_some_vectors(self._tables), cells, stack.num_directions) if is_relu else None
        edges = edges_of_layers(config.kind, config.num_layers, ranges, self.notes, "")
        self._stack = QuantizedStack(stack, cells, edges, self._first_term)

    def graphs(self) -> dict[str, onnx.ModelProto]:
        """tag, with the inputs and outputs of export.trace.whole_text's."""
        graph = OnnxGraph("tag")
        ids = graph.input("ids", np.int64, ["batch", "time"])
        lengths = graph.input("lengths", np.int32, ["batch"])
        before = self._stack.zero_states(graph, ids)
        values, _ = self._stack.sequence(graph, ids, lengths, before, is_heard=True)
        outputs = graph.node("Transpose", dequantize(graph, values, self._stack.edges[-1]), perm=[1, 0, 2])
        weight = graph.constant(np.ascontiguousarray(self._weights["head.weight"].T), "head")
        bias = graph.constant(self._weights["head.bias"], "head_bias")
        logits = graph.node("Add", graph.node("MatMul", outputs, weight), bias)
        graph.output(logits, "logits", np.float32, ["batch", "time", self.config.num_classes])
        return {"tag": graph.model()}

    def _columns(self, input_weight: Floats) -> list[Floats]:
        """The input weights [gates * hidden, width] of each field."""
        return np.split(input_weight, np.cumsum(self.config.field_widths)[:-1], axis=1)

    def _first_term(self, graph: OnnxGraph, weights: CellWeights) -> InputTerm:
        biases = [
            input_bias(self.config.kind, weights),
            *[np.zeros(len(weights.input), np.float32)] * len(self._tables),
        ]
        parts = zip(self._tables, self._columns(weights.input), biases, strict=False)
        terms = [embedding_term(graph, table, np.ascontiguousarray(part), bias) for table, part, bias in parts]
        return terms[0] if len(terms) == 1 else _Fields(graph, self.config.field_sizes, terms)


class _Fields:
    """The sum of what each field of an id in mixed radix adds."""

    def __init__(self, graph: OnnxGraph, sizes: Sequence[int], terms: Sequence[InputTerm]) -> None:
        self._sizes = [graph.constant(np.int64(size)) for size in sizes[:-1]]
        self._terms = terms

    def __call__(self, graph: OnnxGraph, value: str) -> str:
        total = ""
        for number, term in enumerate(self._terms):
            is_last = number == len(self._sizes)
            part = term(graph, value if is_last else graph.node("Mod", value, self._sizes[number]))
            total = graph.node("Add", total, part) if total else part
            value = value if is_last else graph.node("Div", value, self._sizes[number])
        return total


def _some_vectors(tables: Sequence[Floats]) -> Floats:
    """Vectors of random tokens, float32 [4096, sum of widths], to measure ranges with."""
    generator = np.random.default_rng(0)
    rows = [table[generator.integers(len(table), size=4096)] for table in tables]
    return np.concatenate(rows, axis=1)
