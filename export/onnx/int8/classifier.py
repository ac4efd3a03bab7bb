"""The classifier in int8: the stack's products in integers, pooling and head in float32."""

from typing import Any

import numpy as np
import onnx

from export.onnx.graph import OnnxGraph
from export.onnx.int8.attention import attention_weights, validity
from export.onnx.int8.calibration import edges_of_layers, reading_ranges
from export.onnx.int8.cells import CellWeights, InputTerm, input_bias
from export.onnx.int8.embedding import embedding_term, has_table
from export.onnx.int8.linear import Floats, dequantize
from export.onnx.int8.stack import QuantizedStack, States, cell_weights
from models.config import ClassifierConfig


class QuantizedClassifier:
    """Ranges and weights, ready to be written as a graph.

    Args:
        config: the architecture.
        weights: float32 parameters by PyTorch name.

    Attributes:
        notes: facts of the quantisation worth keeping in the manifest.
    """

    def __init__(self, config: ClassifierConfig, weights: dict[str, Floats]) -> None:
        self.config = config
        self._weights = weights
        self._embedding = weights["embedding.weight"]
        stack = config.recurrent
        cells = cell_weights(stack, weights, "recurrent")
        self.notes: dict[str, Any] = {"folded_input_table": has_table(self._embedding, cells[0].input)}
        is_relu = config.kind == "rnn-relu"
        ranges = reading_ranges(self._embedding, cells, stack.num_directions) if is_relu else None
        edges = edges_of_layers(config.kind, config.num_layers, ranges, self.notes, "")
        self._stack = QuantizedStack(stack, cells, edges, self._first_term)

    def graphs(self) -> dict[str, onnx.ModelProto]:
        """classify, with the inputs and outputs of export.trace.whole_text's."""
        graph = OnnxGraph("classify")
        ids = graph.input("ids", np.int64, ["batch", "time"])
        lengths = graph.input("lengths", np.int32, ["batch"])
        is_heard = self.config.pooling != "last"
        before = self._stack.zero_states(graph, ids)
        values, after = self._stack.sequence(graph, ids, lengths, before, is_heard=is_heard)
        pooled = self._pooled(graph, values, lengths) if is_heard else self._last(graph, after)
        weight = graph.constant(np.ascontiguousarray(self._weights["head.weight"].T), "head")
        bias = graph.constant(self._weights["head.bias"], "head_bias")
        graph.output(graph.node("Gemm", pooled, weight, bias), "logits", np.float32, ["batch", self.config.num_classes])
        return {"classify": graph.model()}

    def _last(self, graph: OnnxGraph, after: States) -> str:
        parts = [state[0] for state in after[-self.config.recurrent.num_directions :]]
        return graph.node("Concat", *parts, axis=-1) if len(parts) > 1 else parts[0]

    def _pooled(self, graph: OnnxGraph, values: str, lengths: str) -> str:
        """One vector for each text from uint8 [time, batch, width]."""
        outputs = graph.node("Transpose", dequantize(graph, values, self._stack.edges[-1]), perm=[1, 0, 2])
        one = graph.constant(np.array([1], np.int64))
        is_valid = validity(graph, outputs, lengths)
        if self.config.pooling == "max":
            lowest = graph.constant(np.float32("-inf"))
            masked = graph.node(
                "Where", graph.node("Unsqueeze", is_valid, graph.constant(np.int64(2))), outputs, lowest
            )
            return graph.node("ReduceMax", masked, one, keepdims=0)
        if self.config.pooling == "mean":
            count = graph.node("Unsqueeze", graph.node("Cast", lengths, to=int(onnx.TensorProto.FLOAT)), one)
            shares = graph.node("Div", graph.node("Cast", is_valid, to=int(onnx.TensorProto.FLOAT)), count)
            weights = graph.node("Unsqueeze", shares, one)
        else:
            vector = graph.constant(np.ascontiguousarray(self._weights["score.weight"].T), "score")
            scores = graph.node("Transpose", graph.node("MatMul", outputs, vector), perm=[0, 2, 1])
            weights = attention_weights(graph, scores, is_valid)
        return graph.node("Squeeze", graph.node("MatMul", weights, outputs), one)

    def _first_term(self, graph: OnnxGraph, weights: CellWeights) -> InputTerm:
        return embedding_term(graph, self._embedding, weights.input, input_bias(self.config.kind, weights))
