"""The translator in int8: all products with weights in integers, the attention itself in float32.

The memory leaves `encode` as the quantised outputs' values, so the context, a weighted mean of them, has their range.
"""

from typing import Any

import numpy as np
import onnx

from export.onnx.graph import OnnxGraph
from export.onnx.int8.attention import attention_weights, validity
from export.onnx.int8.calibration import edges_of_layers, reading_ranges
from export.onnx.int8.cells import CellWeights, InputTerm, input_bias
from export.onnx.int8.decoder_calibration import decoder_ranges
from export.onnx.int8.embedding import embedding_term, has_table
from export.onnx.int8.linear import TANH_EDGE, Floats, QuantizedLinear, dequantize, quantize
from export.onnx.int8.stack import QuantizedStack, States, cell_weights
from models.config import TranslatorConfig


class QuantizedTranslator:
    """Ranges and weights, ready to be written as graphs.

    Args:
        config: the architecture.
        weights: float32 parameters by PyTorch name.

    Attributes:
        notes: facts of the quantisation worth keeping in the manifest.
    """

    def __init__(self, config: TranslatorConfig, weights: dict[str, Floats]) -> None:
        self.config = config
        self._weights = weights
        self._source_embedding = weights["source_embedding.weight"]
        self._target_embedding = weights[_target_embedding_name(config)]
        self._head = self._target_embedding if config.tied_embeddings else weights["head.weight"]
        encoder_cells = cell_weights(config.encoder, weights, "encoder")
        decoder_cells = cell_weights(config.decoder, weights, "decoder")
        self.notes: dict[str, Any] = {
            "folded_input_table": has_table(self._source_embedding, encoder_cells[0].input),
        }
        reading = writing = None
        if config.kind == "rnn-relu":
            reading = reading_ranges(self._source_embedding, encoder_cells, config.encoder.num_directions)
            writing = decoder_ranges(
                config, weights, self._source_embedding, self._target_embedding, encoder_cells, decoder_cells
            )
        read = edges_of_layers(config.kind, config.encoder_layers, reading, self.notes, "encoder_")
        written = edges_of_layers(config.kind, config.num_layers, writing, self.notes, "decoder_")
        self._encoder = QuantizedStack(config.encoder, encoder_cells, read, self._source_term)
        self._decoder_cells, self._decoder_edges = decoder_cells, written

    def graphs(self) -> dict[str, onnx.ModelProto]:
        """The graphs encode and step, with the inputs and outputs of export.trace.translator's."""
        return {"encode": self._encode(), "step": self._step()}

    def _encode(self) -> onnx.ModelProto:
        config, encoder = self.config, self._encoder
        graph = OnnxGraph("encode")
        ids = graph.input("ids", np.int64, ["batch", "source"])
        lengths = graph.input("lengths", np.int32, ["batch"])
        values, after = encoder.sequence(graph, ids, lengths, encoder.zero_states(graph, ids), is_heard=True)
        outputs = graph.node("Transpose", values, perm=[1, 0, 2])
        memory = dequantize(graph, outputs, encoder.edges[-1])
        graph.output(memory, "memory", np.float32, ["batch", "source", config.memory_width])
        to_keys = QuantizedLinear(
            graph, self._weights["keys.weight"].T, None, [(encoder.edges[-1], config.memory_width)]
        )
        graph.output(to_keys(graph, outputs), "keys", np.float32, ["batch", "source", config.keys_width])
        graph.output(self._first_state(graph, ids, after), "state", np.float32, ["batch", config.state_size])
        return graph.model()

    def _first_state(self, graph: OnnxGraph, ids: str, after: States) -> str:
        config = self.config
        batch = graph.node("Gather", graph.node("Shape", ids), graph.constant(np.array([0], np.int64)))

        def zeros(width: int) -> str:
            shape = graph.node("Concat", batch, graph.constant(np.array([width], np.int64)), axis=0)
            return graph.node("Expand", graph.constant(np.zeros((1, 1), np.float32)), shape)

        if config.bridge == "zero":
            return zeros(config.state_size)
        bridge = QuantizedLinear(
            graph,
            self._weights["bridge.weight"].T,
            self._weights["bridge.bias"],
            [(self._encoder.edges[-1], config.memory_width)],
        )
        state = graph.node("Tanh", bridge(graph, self._encoder.top_hidden(graph, after)))
        if config.kind == "rnn-relu":
            state = graph.node("Relu", state)
        return graph.node("Concat", state, zeros(config.output_size), axis=1) if config.input_feeding else state

    def _step(self) -> onnx.ModelProto:
        config = self.config
        graph = OnnxGraph("step")
        token = graph.input("token", np.int64, ["batch"])
        row = graph.input("state", np.float32, ["batch", config.state_size])
        memory = graph.input("memory", np.float32, ["batch", "source", config.memory_width])
        keys = graph.input("keys", np.float32, ["batch", "source", config.keys_width])
        lengths = graph.input("lengths", np.int32, ["batch"])
        feed = ""
        if config.input_feeding:
            row, feed = graph.split(row, [config.decoder.state_size, config.output_size])
        decoder = QuantizedStack(
            config.decoder,
            self._decoder_cells,
            self._decoder_edges,
            lambda graph, weights: self._target_term(graph, weights, feed),
        )
        after = decoder.step(graph, token, decoder.states_from_row(graph, row))
        hidden, quantized = after[-1][0], decoder.top_hidden(graph, after)
        weights = self._asked(graph, hidden, quantized, memory, keys, lengths)
        one = graph.constant(np.array([1], np.int64))
        context = graph.node("Squeeze", graph.node("MatMul", weights, memory), one)
        edges = [(self._encoder.edges[-1], config.memory_width), (self._decoder_edges[-1], config.hidden_size)]
        combine = QuantizedLinear(graph, self._weights["combine.weight"].T, None, edges)
        joined = graph.node("Concat", quantize(graph, context, self._encoder.edges[-1]), quantized, axis=-1)
        output = graph.node("Tanh", combine(graph, joined))
        head = QuantizedLinear(graph, self._head.T, self._weights["head.bias"], [(TANH_EDGE, config.output_size)])
        logits = head(graph, quantize(graph, output, TANH_EDGE))
        graph.output(logits, "logits", np.float32, ["batch", config.vocab_size])
        new_row = decoder.row_from_states(graph, after)
        if config.input_feeding:
            new_row = graph.node("Concat", new_row, output, axis=1)
        graph.output(new_row, "new_state", np.float32, ["batch", config.state_size])
        graph.output(graph.node("Squeeze", weights, one), "attention", np.float32, ["batch", "source"])
        return graph.model()

    def _asked(self, graph: OnnxGraph, hidden: str, quantized: str, memory: str, keys: str, lengths: str) -> str:
        """The attention's weights, float32 [batch, 1, source]."""
        config = self.config
        one = graph.constant(np.array([1], np.int64))
        if config.attention == "additive":
            bias = self._weights["query.bias"]
            to_query = QuantizedLinear(
                graph, self._weights["query.weight"].T, bias, [(self._decoder_edges[-1], config.hidden_size)]
            )
            query = graph.node("Unsqueeze", to_query(graph, quantized), one)
            vector = graph.constant(self._weights["score_vector"][:, None], "score_vector")
            compared = graph.node("MatMul", graph.node("Tanh", graph.node("Add", query, keys)), vector)
            scores = graph.node("Transpose", compared, perm=[0, 2, 1])
        else:
            scores = graph.node(
                "MatMul", graph.node("Unsqueeze", hidden, one), graph.node("Transpose", keys, perm=[0, 2, 1])
            )
        return attention_weights(graph, scores, validity(graph, memory, lengths))

    def _source_term(self, graph: OnnxGraph, weights: CellWeights) -> InputTerm:
        return embedding_term(graph, self._source_embedding, weights.input, input_bias(self.config.kind, weights))

    def _target_term(self, graph: OnnxGraph, weights: CellWeights, feed: str) -> InputTerm:
        """Of the token, and with input feeding of the last attentional vector beside it."""
        size = self.config.embedding_size
        bias = input_bias(self.config.kind, weights)
        of_token = embedding_term(graph, self._target_embedding, np.ascontiguousarray(weights.input[:, :size]), bias)
        if not self.config.input_feeding:
            return of_token
        width = self.config.output_size
        of_feed = QuantizedLinear(graph, weights.input[:, size:].T, None, [(TANH_EDGE, width)])

        def both(graph: OnnxGraph, value: str) -> str:
            return graph.node("Add", of_token(graph, value), of_feed(graph, quantize(graph, feed, TANH_EDGE)))

        return both


def _target_embedding_name(config: TranslatorConfig) -> str:
    return "source_embedding.weight" if config.shared_embeddings else "target_embedding.weight"
