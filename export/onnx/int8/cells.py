"""The quantised cells: one time step of one layer, for every kind. Equations as PyTorch's nn.RNN, nn.LSTM, nn.GRU.

The hidden state is quantised where it enters a product and is float everywhere else; an LSTM's c is never quantised.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from export.onnx.graph import OnnxGraph
from export.onnx.int8.linear import TANH_EDGE, Edge, Floats, QuantizedLinear, quantize
from models.cells import CellKind

# Gate blocks in the order used here; PyTorch's are ifgo (LSTM) and rzn (GRU). Sigmoid gates stand together.
_LSTM_ORDER = (0, 1, 3, 2)  # i f o g


@dataclass(frozen=True)
class CellWeights:
    """One layer's parameters in PyTorch's layout.

    Attributes:
        input: float32 [gates * hidden, input].
        recurrent: float32 [gates * hidden, hidden].
        input_bias: float32 [gates * hidden].
        recurrent_bias: float32 [gates * hidden].
    """

    input: Floats
    recurrent: Floats
    input_bias: Floats
    recurrent_bias: Floats

    def reordered(self, kind: CellKind) -> "CellWeights":
        """The same with gate blocks in the order that the cells below expect."""
        if kind != "lstm":
            return self

        def blocks(array: Floats) -> Floats:
            parts = np.split(array, 4)
            ordered: Floats = np.concatenate([parts[gate] for gate in _LSTM_ORDER])
            return ordered

        return CellWeights(*map(blocks, (self.input, self.recurrent, self.input_bias, self.recurrent_bias)))


class InputTerm(Protocol):
    """What a layer's input adds to its gates: a table look-up for layer 0, a product above it."""

    def __call__(self, graph: OnnxGraph, value: str, /) -> str:
        """Value -> float32 [..., gates * hidden], biases included."""


class QuantizedCell:
    """One layer's step, whole or in two halves.

    Whole, for `step`: an RNN or LSTM above layer 0 takes its input and its hidden state through one product. In halves,
    for a sequence: `ahead` does for all time steps at once what needs no state, `rest` does what is left of one step.
    Both give the same bits, because integer sums are exact. In a sequence only one layer's recurrent weights are in
    use for many steps, so they stay in the processor's cache: one to eight rows of an LSTM or GRU are read 2 to 3
    times faster (`python -m benchmarks step`, column int8 / read).

    Attributes:
        prepared_dtype: what `ahead` gives.

    Args:
        graph: where the constants go.
        kind: the cell.
        weights: of this layer, already `reordered`.
        edge: how this layer's hidden state is quantised.
        input_term: what the layer's input adds to the gates; None when the input is quantised and concatenated with
            the hidden state into one product (RNN and LSTM above layer 0).
        input_edge: with input_term None, the edge of the input.
        is_first: the input is token ids, which are looked up in `rest` (looked up ahead, they would fill memory).
    """

    def __init__(
        self,
        graph: OnnxGraph,
        kind: CellKind,
        weights: CellWeights,
        *,
        edge: Edge,
        input_term: InputTerm | None,
        input_edge: Edge = TANH_EDGE,
        is_first: bool,
    ) -> None:
        self.kind = kind
        self.hidden_size = weights.recurrent.shape[1]
        self.edge = edge
        self.prepared_dtype: type[np.generic] = np.int64 if is_first else np.int32 if input_term is None else np.float32
        self._input_term = input_term
        self._is_first = is_first
        self._segments: list[str] = []
        if input_term is not None:
            bias = _recurrent_bias(kind, weights)
            self._linear = QuantizedLinear(graph, weights.recurrent.T, bias, [(edge, self.hidden_size)])
        else:
            width = weights.input.shape[1]
            joined = np.concatenate([weights.input, weights.recurrent], axis=1).T
            bias = weights.input_bias + weights.recurrent_bias
            self._linear = QuantizedLinear(graph, joined, bias, [(input_edge, width), (edge, self.hidden_size)])

    def __call__(self, graph: OnnxGraph, value: str, states: list[str]) -> list[str]:
        """Add one whole step.

        Args:
            graph: the graph to add it to.
            value: the layer's input: int64 [batch] ids for the first layer, else uint8 [batch, input].
            states: h, or h and c, float32 [batch, hidden].

        Returns:
            The new states in the same order.
        """
        if self._input_term is None:
            quantized = quantize(graph, states[0], self.edge)
            return self._combine(graph, self._linear(graph, graph.node("Concat", value, quantized, axis=-1)), states)
        return self.rest(graph, self.ahead(graph, value), states)

    def ahead(self, graph: OnnxGraph, values: str) -> str:
        """Add what needs no state.

        Args:
            graph: the graph around the Scan.
            values: the layer's inputs: int64 [time, batch] ids for the first layer, else uint8 [time, batch, input].

        Returns:
            What `rest` takes a time step of, in prepared_dtype: [time, batch] or [time, batch, gates * hidden].
        """
        if self._is_first:
            return values
        if self._input_term is None:
            self._segments = self._linear.segments()
            return self._linear.product(graph, values, self._segments[0])
        return self._input_term(graph, values)

    def rest(self, graph: OnnxGraph, prepared: str, states: list[str]) -> list[str]:
        """Add what is left of one step.

        Args:
            graph: the Scan's body.
            prepared: one time step of what `ahead` gave.
            states: h, or h and c, float32 [batch, hidden].

        Returns:
            The new states in the same order.
        """
        quantized = quantize(graph, states[0], self.edge)
        if self._input_term is None:
            product = graph.node("Add", prepared, self._linear.product(graph, quantized, self._segments[1]))
            return self._combine(graph, self._linear.scaled(graph, product), states)
        from_input = self._input_term(graph, prepared) if self._is_first else prepared
        from_state = self._linear(graph, quantized)
        if self.kind == "gru":
            return [self._gru(graph, from_input, from_state, states[0])]
        return self._combine(graph, graph.node("Add", from_state, from_input), states)

    def _combine(self, graph: OnnxGraph, gates: str, states: list[str]) -> list[str]:
        if self.kind != "lstm":
            return [graph.node("Tanh" if self.kind == "rnn-tanh" else "Relu", gates)]
        size = self.hidden_size
        sigmoids, candidate = graph.split(gates, [3 * size, size])
        i, f, o = graph.split(graph.node("Sigmoid", sigmoids), [size] * 3)
        fresh = graph.node("Mul", i, graph.node("Tanh", candidate))
        cell = graph.node("Add", graph.node("Mul", f, states[1]), fresh)
        return [graph.node("Mul", o, graph.node("Tanh", cell)), cell]

    def _gru(self, graph: OnnxGraph, from_input: str, from_state: str, hidden: str) -> str:
        size = self.hidden_size
        input_rz, input_n = graph.split(from_input, [2 * size, size])
        state_rz, state_n = graph.split(from_state, [2 * size, size])
        r, z = graph.split(graph.node("Sigmoid", graph.node("Add", input_rz, state_rz)), [size] * 2)
        n = graph.node("Tanh", graph.node("Add", input_n, graph.node("Mul", r, state_n)))
        # h = (1 - z) n + z h = n + z (h - n)
        return graph.node("Add", n, graph.node("Mul", z, graph.node("Sub", hidden, n)))


def input_bias(kind: CellKind, weights: CellWeights) -> Floats:
    """The bias that goes with the input's term: all of it, but for a GRU's b_hn, which the reset gate multiplies."""
    if kind != "gru":
        return weights.input_bias + weights.recurrent_bias
    size = weights.recurrent.shape[1]
    with_state: Floats = np.concatenate([weights.recurrent_bias[: 2 * size], np.zeros(size, np.float32)])
    return weights.input_bias + with_state


def _recurrent_bias(kind: CellKind, weights: CellWeights) -> Floats | None:
    if kind != "gru":
        return None
    size = weights.recurrent.shape[1]
    of_n: Floats = np.concatenate([np.zeros(2 * size, np.float32), weights.recurrent_bias[2 * size :]])
    return of_n
