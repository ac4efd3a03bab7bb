"""The language model's graphs in int8: `step`, and `advance` and `score` as the same step inside a Scan.

Because the sequence graphs hold the very nodes of the step, a sequence in one piece, in chunks or token by token gives
the same bits.
"""

from typing import Any

import numpy as np
import onnx

from export.onnx_graph import OnnxGraph
from export.quantize.calibration import relu_ranges
from export.quantize.cells import CellWeights, InputTerm, QuantizedCell, input_bias
from export.quantize.linear import (
    TANH_EDGE,
    Edge,
    Floats,
    QuantizedLinear,
    channel_scales,
    positive_edge,
    quantize,
    quantized_weight,
)
from models.config import LanguageModelConfig

# Up to this many numbers the product of the embedding with layer 0's input weights is stored as a table instead.
MAX_TABLE_SIZE = 1_000_000


class QuantizedLanguageModel:
    """Ranges and weights, ready to be written as graphs.

    Args:
        config: the architecture.
        weights: float32 parameters by PyTorch name.
        edges: each layer's hidden range; None derives it (tanh-bounded: 1; ReLU: calibrated).

    Attributes:
        notes: facts of the quantisation worth keeping in the manifest.
    """

    def __init__(
        self, config: LanguageModelConfig, weights: dict[str, Floats], edges: list[Edge] | None = None
    ) -> None:
        self.config = config
        self._embedding = weights["embedding.weight"]
        self._head = weights["embedding.weight" if config.tied_embeddings else "head.weight"]
        self._head_bias = weights["head.bias"]
        in_torch_order = [
            CellWeights(
                input=weights[f"recurrent.layers.weight_ih_l{layer}"],
                recurrent=weights[f"recurrent.layers.weight_hh_l{layer}"],
                input_bias=weights[f"recurrent.layers.bias_ih_l{layer}"],
                recurrent_bias=weights[f"recurrent.layers.bias_hh_l{layer}"],
            )
            for layer in range(config.num_layers)
        ]
        self._cells = [cell.reordered(config.kind) for cell in in_torch_order]
        self.has_table = config.vocab_size * self._cells[0].input.shape[0] <= MAX_TABLE_SIZE
        self.notes: dict[str, Any] = {"folded_input_table": self.has_table}
        self.edges = edges or self._derived_edges()

    def graphs(self) -> dict[str, onnx.ModelProto]:
        """step, advance and score, with the contract of DESIGN.md section 3."""
        return {"step": self._step(), "advance": self._sequence("advance"), "score": self._sequence("score")}

    def _derived_edges(self) -> list[Edge]:
        if self.config.kind != "rnn-relu":
            return [TANH_EDGE] * self.config.num_layers
        ranges = relu_ranges(self._embedding, self._cells, self._head, self._head_bias)
        self.notes["relu_ranges"] = [item.bound for item in ranges]
        self.notes["relu_clipped_shares"] = [item.clipped_share for item in ranges]
        return [positive_edge(item.bound) for item in ranges]

    def _step(self) -> onnx.ModelProto:
        graph = OnnxGraph("step")
        token = graph.input("token", np.int64, ["batch"])
        states = self._state_input(graph)
        states = self._layers(graph)(graph, token, states)
        graph.output(self._head_of(graph)(graph, self._top(graph, states)), "logits", np.float32, self._logits_shape())
        self._state_output(graph, states)
        return graph.model()

    def _sequence(self, name: str) -> onnx.ModelProto:
        """`advance` (logits after each row's last token) or `score` (logits at every position)."""
        graph = OnnxGraph(name)
        ids = graph.input("ids", np.int64, ["batch", "time"])
        lengths = graph.input("lengths", np.int32, ["batch"])
        states = self._state_input(graph)
        time_major = graph.node("Transpose", ids, perm=[1, 0])
        lengths_column = graph.node("Unsqueeze", lengths, graph.constant(np.array([1], np.int64)))
        num_steps = graph.node("Gather", graph.node("Shape", time_major), graph.constant(np.int64(0)))
        counter = graph.node(
            "Range", *(graph.constant(np.int32(0)), _int32(graph, num_steps)), graph.constant(np.int32(1))
        )

        body = OnnxGraph("one_step", parent=graph)
        layers = self._layers(graph)
        before = [body.input(body.unique("state"), np.float32, None) for _ in states]
        position = body.input(body.unique("position"), np.int32, [])
        token = body.input(body.unique("token"), np.int64, None)
        is_valid = body.node("Less", position, lengths_column)
        after = layers(body, token, before)
        kept = [body.node("Where", is_valid, new, old) for new, old in zip(after, before, strict=True)]
        for value in kept:
            body.output(value, body.unique("new_state"), np.float32, None)
        if name == "score":
            body.output(self._top(body, after), body.unique("top"), np.uint8, None)
        *final, top = graph.nodes(
            "Scan",
            *states,
            counter,
            time_major,
            outputs=len(states) + (name == "score"),
            body=body.graph_proto(),
            num_scan_inputs=2,
        ) + ([""] if name == "advance" else [])
        head = self._head_of(graph)
        if name == "score":
            logits = graph.node("Transpose", head(graph, top), perm=[1, 0, 2])
        else:
            logits = head(graph, self._top(graph, final))
        shape: list[str | int] = (
            self._logits_shape() if name == "advance" else ["batch", "time", self.config.vocab_size]
        )
        graph.output(logits, "logits", np.float32, shape)
        self._state_output(graph, final)
        return graph.model()

    def _layers(self, graph: OnnxGraph) -> "_Layers":
        cells: list[QuantizedCell] = []
        for index, weights in enumerate(self._cells):
            edge, below = self.edges[index], self.edges[index - 1]
            term: InputTerm | None = None
            if index == 0:
                term = self._embedding_term(graph, weights)
            elif self.config.kind == "gru":
                bias = input_bias("gru", weights)
                term = QuantizedLinear(graph, weights.input.T, bias, [(below, weights.input.shape[1])])
            cells.append(QuantizedCell(graph, self.config.kind, weights, edge=edge, input_term=term, input_edge=below))
        return _Layers(cells)

    def _embedding_term(self, graph: OnnxGraph, weights: CellWeights) -> InputTerm:
        bias = input_bias(self.config.kind, weights)
        if self.has_table:
            table = (self._embedding @ weights.input.T + bias).astype(np.float32)
            return _Table(graph, table)
        return _QuantizedEmbedding(graph, self._embedding, weights.input, bias)

    def _head_of(self, graph: OnnxGraph) -> QuantizedLinear:
        return QuantizedLinear(graph, self._head.T, self._head_bias, [(self.edges[-1], self.config.hidden_size)])

    def _top(self, graph: OnnxGraph, states: list[str]) -> str:
        """The top layer's hidden state, quantised for the head."""
        return quantize(graph, states[self.config.num_layers - 1], self.edges[-1])

    def _state_input(self, graph: OnnxGraph) -> list[str]:
        """H of each layer, then c of each layer of an LSTM: the parts of the row."""
        recurrent = self.config.recurrent
        state = graph.input("state", np.float32, ["batch", recurrent.state_size])
        return graph.split(state, [recurrent.hidden_size] * (recurrent.state_size // recurrent.hidden_size))

    def _state_output(self, graph: OnnxGraph, states: list[str]) -> None:
        row = graph.node("Concat", *states, axis=1)
        graph.output(row, "new_state", np.float32, ["batch", self.config.recurrent.state_size])

    def _logits_shape(self) -> list[str | int]:
        return ["batch", self.config.vocab_size]


class _Layers:
    """All layers' step: the nodes that `step` has once and a sequence graph has in its Scan."""

    def __init__(self, cells: list[QuantizedCell]) -> None:
        self._cells = cells

    def __call__(self, graph: OnnxGraph, token: str, states: list[str]) -> list[str]:
        """Token int64 [batch], states in row order -> new states in row order."""
        num_layers = len(self._cells)
        after: list[list[str]] = []
        value = token
        for index, cell in enumerate(self._cells):
            after.append(cell(graph, value, states[index::num_layers]))
            if index + 1 < num_layers:
                value = quantize(graph, after[-1][0], cell.edge)
        return [part[index] for index in range(len(after[0])) for part in after]


class _Table:
    """Layer 0's input term as a look-up: embedding times input weights plus bias, computed at export."""

    def __init__(self, graph: OnnxGraph, table: Floats) -> None:
        self._table = graph.constant(table, "input_table")

    def __call__(self, graph: OnnxGraph, value: str) -> str:
        return graph.node("Gather", self._table, value)


class _QuantizedEmbedding:
    """Layer 0's input term for a large vocabulary: int8 rows with a scale for each row, then the product."""

    def __init__(self, graph: OnnxGraph, embedding: Floats, input_weight: Floats, bias: Floats) -> None:
        row_scales = channel_scales(embedding.T)
        rows = (quantized_weight(embedding.T, row_scales).T.astype(np.int16) + 128).astype(np.uint8)
        self._rows = graph.constant(rows, "embedding")
        self._row_scales = graph.constant(row_scales[:, None], "embedding_scale")
        unit = Edge(scale=1.0, zero_point=128)
        self._product = QuantizedLinear(graph, input_weight.T, None, [(unit, embedding.shape[1])])
        self._bias = graph.constant(bias.astype(np.float32), "bias")

    def __call__(self, graph: OnnxGraph, value: str) -> str:
        rows, scales = graph.node("Gather", self._rows, value), graph.node("Gather", self._row_scales, value)
        return graph.node("Add", self._product(graph, rows, row_scale=scales), self._bias)


def _int32(graph: OnnxGraph, value: str) -> str:
    return graph.node("Cast", value, to=int(onnx.TensorProto.INT32))
