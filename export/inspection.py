"""What is inside a bundle, as tables for a terminal."""

from collections.abc import Iterator

import onnx
from rich.markup import escape
from rich.table import Table

from export.onnx.census import census
from models.bundle import Bundle
from runtime.choice import read_choices


def bundle_tables(bundle: Bundle) -> Iterator[Table]:
    """Architecture and metrics, the state row where there is one, and three tables for each graph set."""
    record = bundle.record
    facts = _table(f"{bundle.id} ({record.task})", "field", "value")
    for field, value in bundle.config.model_dump().items():
        facts.add_row(field, str(value))
    if record.tokenizer is not None:
        facts.add_row("tokenizer", f"{record.tokenizer.kind}, {record.tokenizer.vocab_size} ids")
    for metric, figure in record.metrics.items():
        facts.add_row(metric, f"{figure:.4g}")
    for file in record.files:
        facts.add_row(file, _size((bundle.path / file).stat().st_size))
    yield facts
    if record.row:
        row = _table(f"state row, {record.state_width} numbers", "part", "offset", "size")
        for entry in record.row:
            row.add_row(entry.name, str(entry.offset), str(entry.size))
        yield row
    choices = read_choices(bundle)
    if choices:
        chosen = _table("measured on this machine, fastest first", "backend", *map(", ".join, bundle.task.groups))
        for choice in choices:
            chosen.add_row(choice.backend, *choice.sets)
        yield chosen
    for name in bundle.graph_sets:
        graph_set = bundle.graph_set(name)
        total = sum(file.stat().st_size for file in graph_set.path.iterdir())
        shapes = _table(f"graph set {name}, {_size(total)}", "graph", "inputs", "outputs")
        operators = _table(f"operators of {name}", "graph", "operators")
        for graph in graph_set.manifest.graphs:
            model = onnx.load(str(graph_set.graph(graph)), load_external_data=False)
            counts = ", ".join(f"{count} {operator}" for operator, count in census(model).most_common())
            shapes.add_row(graph, _values(model.graph.input), _values(model.graph.output))
            operators.add_row(graph, counts)
        measured = _table(f"measured when {name} was built", "figure", "value")
        for name_of_figure, value in graph_set.manifest.parity.items():
            measured.add_row(name_of_figure, f"{value:.4g}")
        yield from (shapes, operators, measured)


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left")


def _values(values: list[onnx.ValueInfoProto]) -> str:
    lines = []
    for value in values:
        tensor = value.type.tensor_type
        shape = ",".join(dimension.dim_param or str(dimension.dim_value) for dimension in tensor.shape.dim)
        lines.append(f"{value.name}: {onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)}[{shape}]")
    return escape("\n".join(lines))


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.2f} MB" if num_bytes >= 100_000 else f"{num_bytes / 1e3:.1f} kB"
