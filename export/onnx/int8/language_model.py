"""The language model in int8: `step`, and `advance` and `score` over whole sequences."""

from typing import Any

import numpy as np
import onnx

from export.onnx.graph import OnnxGraph
from export.onnx.int8.calibration import edges_of_layers, relu_ranges
from export.onnx.int8.cells import CellWeights, InputTerm, input_bias
from export.onnx.int8.embedding import embedding_term, has_table
from export.onnx.int8.linear import Edge, Floats, QuantizedLinear
from export.onnx.int8.stack import QuantizedStack, cell_weights
from models.config import LanguageModelConfig


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
        cells = cell_weights(config.recurrent, weights, "recurrent")
        self.has_table = has_table(self._embedding, cells[0].input)
        self.notes: dict[str, Any] = {"folded_input_table": self.has_table}
        self.edges = edges or self._derived_edges(cells)
        self._stack = QuantizedStack(config.recurrent, cells, self.edges, self._first_term)

    def graphs(self) -> dict[str, onnx.ModelProto]:
        """step, advance and score, with the inputs and outputs of export.trace.language_model's."""
        return {"step": self._step(), "advance": self._sequence("advance"), "score": self._sequence("score")}

    def _derived_edges(self, cells: list[CellWeights]) -> list[Edge]:
        is_relu = self.config.kind == "rnn-relu"
        ranges = relu_ranges(self._embedding, cells, self._head, self._head_bias) if is_relu else None
        return edges_of_layers(self.config.kind, self.config.num_layers, ranges, self.notes, "")

    def _step(self) -> onnx.ModelProto:
        graph = OnnxGraph("step")
        token = graph.input("token", np.int64, ["batch"])
        state = graph.input("state", np.float32, ["batch", self.config.state_size])
        after = self._stack.step(graph, token, self._stack.states_from_row(graph, state))
        logits = self._head_of(graph)(graph, self._stack.top_hidden(graph, after))
        graph.output(logits, "logits", np.float32, ["batch", self.config.vocab_size])
        row = self._stack.row_from_states(graph, after)
        graph.output(row, "new_state", np.float32, ["batch", self.config.state_size])
        return graph.model()

    def _sequence(self, name: str) -> onnx.ModelProto:
        """`advance` (logits after each row's last token) or `score` (logits at every position)."""
        graph = OnnxGraph(name)
        ids = graph.input("ids", np.int64, ["batch", "time"])
        lengths = graph.input("lengths", np.int32, ["batch"])
        state = graph.input("state", np.float32, ["batch", self.config.state_size])
        before = self._stack.states_from_row(graph, state)
        values, after = self._stack.sequence(graph, ids, lengths, before, is_heard=name == "score")
        head = self._head_of(graph)
        if name == "score":
            logits = graph.node("Transpose", head(graph, values), perm=[1, 0, 2])
            graph.output(logits, "logits", np.float32, ["batch", "time", self.config.vocab_size])
        else:
            logits = head(graph, self._stack.top_hidden(graph, after))
            graph.output(logits, "logits", np.float32, ["batch", self.config.vocab_size])
        row = self._stack.row_from_states(graph, after)
        graph.output(row, "new_state", np.float32, ["batch", self.config.state_size])
        return graph.model()

    def _first_term(self, graph: OnnxGraph, weights: CellWeights) -> InputTerm:
        return embedding_term(graph, self._embedding, weights.input, input_bias(self.config.kind, weights))

    def _head_of(self, graph: OnnxGraph) -> QuantizedLinear:
        return QuantizedLinear(graph, self._head.T, self._head_bias, [(self.edges[-1], self.config.hidden_size)])
