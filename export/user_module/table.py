"""What was exported, as a table for the screen: inputs, outputs with their error, operators."""

import onnx
from rich.markup import escape
from rich.table import Table

from export.user_module.export import Exported
from export.user_module.parity import sizes_as_text


def exported_table(title: str, exported: Exported) -> Table:
    """Inputs, outputs with their errors, and below them operators, compared sizes and notes.

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
            f"{errors.allowed:.2g}",
        )
    operators = ", ".join(f"{count} {operator}" for operator, count in exported.operators.most_common())
    compared = dict.fromkeys(sizes_as_text(sizes) for sizes in exported.parity.compared)
    table.caption = escape(
        "\n".join((f"operators: {operators}", f"compared with PyTorch at {'; '.join(compared)}", *exported.notes))
    )
    return table


def _shape(value: onnx.ValueInfoProto) -> str:
    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return f"{dtype}[{','.join(axis.dim_param or str(axis.dim_value) for axis in kind.shape.dim)}]"
