"""Ignored lengths: a layer, or an attention, that reads a row's padding as if it were text."""

from collections.abc import Iterator

from export.parity.diagnosis.graph import Graph

LENGTHS = "lengths"
STEP = "step"
_RECURRENT = ("LSTM", "GRU", "RNN")


def ignored_lengths(graph: Graph) -> Iterator[str]:
    """A sentence for each place where a graph's lengths do not arrive."""
    if LENGTHS not in graph.inputs:
        if graph.name != STEP:
            yield f"graph {graph.name} has no input lengths, so padding is read as text"
        return
    reached = graph.reached_from(LENGTHS, through_layers=False)
    for node in graph.nodes:
        if node.op_type in _RECURRENT and graph.name != STEP:
            lengths = node.input[4] if len(node.input) > 4 else ""
            if lengths not in reached:
                yield f"{graph.where(node)} ignores lengths (no sequence_lens), so it reads padding as text"
        elif node.op_type == "Scan":
            bodies = [item.g for item in node.attribute if item.HasField("g")]
            inner = {name for body in bodies for step in body.node for name in step.input}
            if inner.isdisjoint(reached):
                yield f"{graph.where(node)} ignores lengths (its body compares none), so it reads padding as text"
        elif node.op_type == "Softmax":
            mask = graph.maker(node.input[0])
            if mask is None or mask.op_type != "Where" or mask.input[0] not in reached:
                yield f"{graph.where(node)} ignores lengths (its scores are not masked), so it attends to padding"
