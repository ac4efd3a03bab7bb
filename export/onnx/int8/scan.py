"""A quantised layer over all time steps of a batch of unequal lengths, as one Scan."""

import numpy as np
import onnx

from export.onnx.graph import OnnxGraph
from export.onnx.int8.cells import QuantizedCell
from export.onnx.int8.linear import quantize


class Clock:
    """Which rows still run at a time step, for the bodies of all layers.

    Args:
        graph: the graph around the Scans.
        time_major: a value whose first axis is time.
        lengths: int32 [batch].

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


def scan(
    graph: OnnxGraph,
    cell: QuantizedCell,
    before: list[str],
    values: str,
    clock: Clock,
    *,
    is_reverse: bool,
    is_heard: bool,
) -> tuple[list[str], str]:
    """One layer in one direction. Past a row's length its state is kept.

    Args:
        graph: the graph around.
        cell: the layer.
        before: its states before the first step.
        values: its inputs, time first.
        clock: which rows run when.
        is_reverse: from the last time step to the first; a row begins where its length ends.
        is_heard: whether anything takes the layer's outputs.

    Returns:
        The states after each row's last step, and the outputs, uint8 [time, batch, hidden] ("" unless is_heard); past
        a row's length an output is of no meaning.
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
    directions = {"scan_input_directions": [int(is_reverse)] * 2}
    if is_heard:
        directions["scan_output_directions"] = [int(is_reverse)]
    results = graph.nodes(
        "Scan",
        *before,
        clock.positions,
        prepared,
        outputs=len(before) + is_heard,
        body=body.graph_proto(),
        num_scan_inputs=2,
        **directions,
    )
    return results[: len(before)], results[-1] if is_heard else ""
