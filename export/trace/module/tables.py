"""What was exported, as tables for the screen: inputs, outputs with their error, operators."""

from collections.abc import Iterator

import onnx
from rich.markup import escape
from rich.table import Table

from export.trace.module.export import Exported
from export.trace.module.parity import TOLERANCE, sizes_as_text


def exported_tables(title: str, exported: Exported) -> Iterator[Table]:
    """Two tables and the notes.

    Args:
        title: what was exported.
        exported: the graph and what the comparison found.
    """
    graph = exported.model.graph
    table = Table(
        "", "shape", "worst error", "mean", "allowed", title=escape(title), title_justify="left", caption_justify="left"
    )
    for value in graph.input:
        table.add_row(f"in   {value.name}", escape(_shape(value)), "", "", "")
    shapes = {value.name: _shape(value) for value in graph.output}
    for errors in exported.parity.outputs:
        table.add_row(
            f"out  {errors.name}",
            escape(shapes[errors.name]),
            f"{errors.worst:.2g}",
            f"{errors.mean:.2g}",
            f"{TOLERANCE:g}",
        )
    compared = dict.fromkeys(sizes_as_text(sizes) for sizes in exported.parity.compared)
    table.caption = escape("\n".join((f"Compared with PyTorch at: {'; '.join(compared)}.", *exported.notes)))
    yield table
    operators = Table("operator", "nodes", title="operators", title_justify="left")
    for operator, count in exported.operators.most_common():
        operators.add_row(operator, str(count))
    yield operators


def _shape(value: onnx.ValueInfoProto) -> str:
    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return f"{dtype}[{','.join(axis.dim_param or str(axis.dim_value) for axis in kind.shape.dim)}]"
