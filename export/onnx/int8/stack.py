"""A recurrent stack in int8: one step of it, or whole sequences layer after layer, in one direction or two.

A sequence makes the step's integer sums and then holds its very nodes, so a sequence in one piece, in chunks or token
by token gives the same bits.
"""

from collections.abc import Callable

import numpy as np

from export.onnx.graph import OnnxGraph
from export.onnx.int8.cells import CellWeights, InputTerm, QuantizedCell, input_bias
from export.onnx.int8.linear import Edge, Floats, QuantizedLinear, quantize
from export.onnx.int8.scan import Clock, scan
from models.config import RecurrentConfig

FirstTerm = Callable[[OnnxGraph, CellWeights], InputTerm]  # what the stack's input adds to the gates of layer 0
States = list[list[str]]  # by layer and direction (forward, backward, forward ...): h, or h and c


def cell_weights(config: RecurrentConfig, weights: dict[str, Floats], prefix: str) -> list[CellWeights]:
    """The parameters of each layer and direction.

    Args:
        config: the stack.
        weights: float32 parameters by PyTorch name.
        prefix: of the stack in these names, such as "recurrent".
    """
    return [
        CellWeights(
            input=weights[f"{prefix}.layers.weight_ih_l{layer}{suffix}"],
            recurrent=weights[f"{prefix}.layers.weight_hh_l{layer}{suffix}"],
            input_bias=weights[f"{prefix}.layers.bias_ih_l{layer}{suffix}"],
            recurrent_bias=weights[f"{prefix}.layers.bias_hh_l{layer}{suffix}"],
        ).reordered(config.kind)
        for layer in range(config.num_layers)
        for suffix in ("", "_reverse")[: config.num_directions]
    ]


class QuantizedStack:
    """Cells ready to be written into graphs.

    Args:
        config: kind, sizes, depth, directions.
        cells: of each layer and direction, as `cell_weights` gives them.
        edges: of each layer's hidden state; both directions of a layer share it.
        first_term: what token ids add to the gates of layer 0.
    """

    def __init__(
        self, config: RecurrentConfig, cells: list[CellWeights], edges: list[Edge], first_term: FirstTerm
    ) -> None:
        self.config = config
        self.edges = edges
        self._cells = cells
        self._first_term = first_term

    def step(self, graph: OnnxGraph, value: str, states: States) -> States:
        """Add one step of a stack of one direction.

        Args:
            graph: the graph to add it to.
            value: int64 [batch], ids.
            states: of each layer.

        Returns:
            The new states.
        """
        after: States = []
        for cell, before in zip(self._layers(graph), states, strict=True):
            if after:
                value = quantize(graph, after[-1][0], self.edges[len(after) - 1])
            after.append(cell(graph, value, before))
        return after

    def sequence(
        self, graph: OnnxGraph, ids: str, lengths: str, states: States, *, is_heard: bool
    ) -> tuple[str, States]:
        """Add whole sequences.

        Args:
            graph: the graph to add them to.
            ids: int64 [batch, time].
            lengths: int32 [batch].
            states: of each layer and direction, before the first step.
            is_heard: whether anything takes the top layer's outputs.

        Returns:
            The top layer's outputs, uint8 [time, batch, directions * hidden] ("" unless is_heard), and the states
            after each row's last step (backward: its first).
        """
        values = graph.node("Transpose", ids, perm=[1, 0])
        clock = Clock(graph, values, lengths)
        cells = self._layers(graph)
        after: States = []
        num_directions = self.config.num_directions
        for layer in range(self.config.num_layers):
            outputs = []
            for direction in range(num_directions):
                index = layer * num_directions + direction
                final, output = scan(
                    graph,
                    cells[index],
                    states[index],
                    values,
                    clock,
                    is_reverse=direction == 1,
                    is_heard=is_heard or layer + 1 < self.config.num_layers,
                )
                after.append(final)
                outputs.append(output)
            values = graph.node("Concat", *outputs, axis=-1) if len(outputs) > 1 and outputs[0] else outputs[0]
        return values, after

    def states_from_row(self, graph: OnnxGraph, row: str) -> States:
        """The parts of a state row float32 [batch, D] by layer and direction."""
        config = self.config
        parts = graph.split(row, [config.hidden_size] * (config.state_size // config.hidden_size))
        num_cells = config.num_layers * config.num_directions
        return [parts[index::num_cells] for index in range(num_cells)]

    def row_from_states(self, graph: OnnxGraph, states: States) -> str:
        """The inverse: h of all layers, then c of all layers, float32 [batch, D]."""
        return graph.node("Concat", *(part for parts in zip(*states, strict=True) for part in parts), axis=1)

    def zero_states(self, graph: OnnxGraph, ids: str) -> States:
        """Zeros for each row of ids int64 [batch, time]."""
        batch = graph.node("Gather", graph.node("Shape", ids), graph.constant(np.array([0], np.int64)))
        shape = graph.node("Concat", batch, graph.constant(np.array([self.config.hidden_size], np.int64)), axis=0)
        zeros = graph.node("Expand", graph.constant(np.zeros((1, 1), np.float32)), shape)
        return [[zeros] * len(self.config.state_names)] * (self.config.num_layers * self.config.num_directions)

    def top_hidden(self, graph: OnnxGraph, states: States) -> str:
        """The top layer's h, uint8 [batch, directions * hidden]."""
        parts = [quantize(graph, state[0], self.edges[-1]) for state in states[-self.config.num_directions :]]
        return graph.node("Concat", *parts, axis=-1) if len(parts) > 1 else parts[0]

    def _layers(self, graph: OnnxGraph) -> list[QuantizedCell]:
        cells: list[QuantizedCell] = []
        for index, weights in enumerate(self._cells):
            layer = index // self.config.num_directions
            edge, below = self.edges[layer], self.edges[layer - 1]
            term: InputTerm | None = None
            if layer == 0:
                term = self._first_term(graph, weights)
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
                    is_first=layer == 0,
                )
            )
        return cells
