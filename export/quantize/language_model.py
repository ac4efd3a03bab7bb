"""The language model in int8: `step`, and `advance` and `score` as the same step, layer after layer, in Scans.

The sequence graphs make the step's integer sums and then hold its very nodes, so a sequence in one piece, in chunks or
token by token gives the same bits.
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
        """step, advance and score, with the inputs and outputs of export.trace.language_model's."""
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
        value = graph.input("token", np.int64, ["batch"])
        states = self._state_input(graph)
        after: list[list[str]] = []
        for cell, before in zip(self._layers(graph), states, strict=True):
            after.append(cell(graph, value, before))
            value = quantize(graph, after[-1][0], cell.edge)
        graph.output(self._head_of(graph)(graph, value), "logits", np.float32, ["batch", self.config.vocab_size])
        self._state_output(graph, after)
        return graph.model()

    def _sequence(self, name: str) -> onnx.ModelProto:
        """`advance` (logits after each row's last token) or `score` (logits at every position)."""
        graph = OnnxGraph(name)
        ids = graph.input("ids", np.int64, ["batch", "time"])
        lengths = graph.input("lengths", np.int32, ["batch"])
        states = self._state_input(graph)
        values = graph.node("Transpose", ids, perm=[1, 0])
        clock = _Clock(graph, values, lengths)
        cells = self._layers(graph)
        after: list[list[str]] = []
        for index, (cell, before) in enumerate(zip(cells, states, strict=True)):
            is_heard = index + 1 < len(cells) or name == "score"
            final, values = _scan(graph, cell, before, values, clock, is_heard=is_heard)
            after.append(final)
        head = self._head_of(graph)
        if name == "score":
            logits = graph.node("Transpose", head(graph, values), perm=[1, 0, 2])
            graph.output(logits, "logits", np.float32, ["batch", "time", self.config.vocab_size])
        else:
            top = quantize(graph, after[-1][0], cells[-1].edge)
            graph.output(head(graph, top), "logits", np.float32, ["batch", self.config.vocab_size])
        self._state_output(graph, after)
        return graph.model()

    def _layers(self, graph: OnnxGraph) -> list[QuantizedCell]:
        cells: list[QuantizedCell] = []
        for index, weights in enumerate(self._cells):
            edge, below = self.edges[index], self.edges[index - 1]
            term: InputTerm | None = None
            if index == 0:
                term = self._embedding_term(graph, weights)
            elif self.config.kind == "gru":
                bias = input_bias("gru", weights)
                term = QuantizedLinear(graph, weights.input.T, bias, [(below, weights.input.shape[1])])
            cells.append(
                QuantizedCell(
                    graph,
                    self.config.kind,
                    weights,
                    edge=edge,
                    input_term=term,
                    input_edge=below,
                    is_first=index == 0,
                )
            )
        return cells

    def _embedding_term(self, graph: OnnxGraph, weights: CellWeights) -> InputTerm:
        bias = input_bias(self.config.kind, weights)
        if self.has_table:
            table = (self._embedding @ weights.input.T + bias).astype(np.float32)
            return _Table(graph, table)
        return _QuantizedEmbedding(graph, self._embedding, weights.input, bias)

    def _head_of(self, graph: OnnxGraph) -> QuantizedLinear:
        return QuantizedLinear(graph, self._head.T, self._head_bias, [(self.edges[-1], self.config.hidden_size)])

    def _state_input(self, graph: OnnxGraph) -> list[list[str]]:
        """The row's parts by layer: h, or h and c."""
        recurrent = self.config.recurrent
        state = graph.input("state", np.float32, ["batch", recurrent.state_size])
        parts = graph.split(state, [recurrent.hidden_size] * (recurrent.state_size // recurrent.hidden_size))
        return [parts[layer :: recurrent.num_layers] for layer in range(recurrent.num_layers)]

    def _state_output(self, graph: OnnxGraph, states: list[list[str]]) -> None:
        """The row from its parts: h of all layers, then c of all layers."""
        row = graph.node("Concat", *(part for parts in zip(*states, strict=True) for part in parts), axis=1)
        graph.output(row, "new_state", np.float32, ["batch", self.config.recurrent.state_size])


class _Clock:
    """Which rows still run at a time step, for the bodies of all layers.

    Attributes:
        positions: int32 [time], to be scanned.
    """

    def __init__(self, graph: OnnxGraph, time_major: str, lengths: str) -> None:
        num_steps = graph.node("Gather", graph.node("Shape", time_major), graph.constant(np.int64(0)))
        num_steps = graph.node("Cast", num_steps, to=int(onnx.TensorProto.INT32))
        self.positions = graph.node("Range", graph.constant(np.int32(0)), num_steps, graph.constant(np.int32(1)))
        self._lengths = graph.node("Unsqueeze", lengths, graph.constant(np.array([1], np.int64)))

    def is_running(self, body: OnnxGraph, position: str) -> str:
        """Bool [batch, 1]: the position lies before the row's length."""
        return body.node("Less", position, self._lengths)


def _scan(
    graph: OnnxGraph, cell: QuantizedCell, before: list[str], values: str, clock: _Clock, *, is_heard: bool
) -> tuple[list[str], str]:
    """One layer over all time steps. Past a row's length its state is kept.

    Args:
        graph: the graph around.
        cell: the layer.
        before: its states before the first step.
        values: its inputs, time first.
        clock: which rows run when.
        is_heard: whether a layer above, or the head, takes the layer's outputs.

    Returns:
        The states after each row's last step, and the outputs, uint8 [time, batch, hidden] ("" unless is_heard).
    """
    prepared = cell.ahead(graph, values)
    body = OnnxGraph("one_step", parent=graph)
    states = [body.input(body.unique("state"), np.float32, None) for _ in before]
    position = body.input(body.unique("position"), np.int32, [])
    now = body.input(body.unique("prepared"), cell.prepared_dtype, None)
    is_running = clock.is_running(body, position)
    after = cell.rest(body, now, states)
    for new, old in zip(after, states, strict=True):
        body.output(body.node("Where", is_running, new, old), body.unique("new_state"), np.float32, None)
    if is_heard:
        body.output(quantize(body, after[0], cell.edge), body.unique("output"), np.uint8, None)
    results = graph.nodes(
        "Scan",
        *before,
        clock.positions,
        prepared,
        outputs=len(before) + is_heard,
        body=body.graph_proto(),
        num_scan_inputs=2,
    )
    return results[: len(before)], results[-1] if is_heard else ""


class _Table:
    """Layer 0's input term as a look-up: embedding times input weights plus bias, computed at export."""

    def __init__(self, graph: OnnxGraph, table: Floats) -> None:
        self._table = graph.constant(table, "input_table")

    def __call__(self, graph: OnnxGraph, value: str) -> str:
        return graph.node("Gather", self._table, value)


class _QuantizedEmbedding:
    """Layer 0's input term for a large vocabulary: int8 rows with a scale for each row, then the product."""

    def __init__(self, graph: OnnxGraph, embedding: Floats, input_weight: Floats, bias: Floats) -> None:
        row_scales = channel_scales(embedding.T, levels=127)
        rows = (quantized_weight(embedding.T, row_scales).T.astype(np.int16) + 128).astype(np.uint8)
        self._rows = graph.constant(rows, "embedding")
        self._row_scales = graph.constant(row_scales[:, None], "embedding_scale")
        unit = Edge(scale=1.0, zero_point=128)
        self._product = QuantizedLinear(graph, input_weight.T, None, [(unit, embedding.shape[1])])
        self._bias = graph.constant(bias.astype(np.float32), "bias")

    def __call__(self, graph: OnnxGraph, value: str) -> str:
        rows, scales = graph.node("Gather", self._rows, value), graph.node("Gather", self._row_scales, value)
        return graph.node("Add", self._product(graph, rows, row_scale=scales), self._bias)
