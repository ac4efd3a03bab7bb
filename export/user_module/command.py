"""`python -m export module`: from what a user writes to a file and its report."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table

from export.parity.limits import FP32_TOLERANCE
from export.user_module.export import export_module, write_graph
from export.user_module.inputs import argument_from_text, value_range_from_text
from export.user_module.source import load_module, without_weights
from export.user_module.step_graphs import export_steps
from export.user_module.stepped import has_step_only
from export.user_module.table import exported_table
from models.errors import ExportError


def export_to_file(
    reference: str,
    weights: Path | None,
    inputs: Sequence[str],
    output: Path,
    ranges: Sequence[str] = (),
    names: Sequence[str] | None = None,
    tolerance: float = FP32_TOLERANCE,
    say: Callable[[str], None] = lambda _: None,
) -> list[Table]:
    """Load, export, check and write a user's module.

    Args:
        reference: FILE:NAME of a class or function that gives the module.
        weights: a file of safetensors or torch.save, or None for the module's own.
        inputs: NAME:DTYPE[AXIS,...] for each argument of forward, in order; (INPUT,INPUT,...) for one that is a tuple.
        output: the .onnx file to write; of a step NAME-step.onnx and NAME-advance.onnx.
        ranges: NAME:LO..HI of inputs or axes.
        names: of the outputs; None for those that the module's return value gives.
        tolerance: how far an answer may be from PyTorch's, relative to the largest magnitude of its row.
        say: called with what is being done, a line at a time.

    Returns:
        The report, a table for each graph: one, or `step` and `advance` of a module that has a step and no forward.

    Raises:
        ExportError: anything does not fit; nothing is written.
    """
    if output.suffix != ".onnx" or not output.parent.is_dir() or output.is_dir():
        raise ExportError(f"--output {output} must be a file that ends in .onnx, in a folder that exists.")
    if not os.access(output.parent, os.W_OK):
        raise ExportError(f"--output {output} cannot be written: no right to write to {output.parent}.")
    if not 0 < tolerance < 1:
        raise ExportError(f"--tolerance {tolerance:g} must be above 0 and below 1, for instance 1e-4.")
    arguments = [argument_from_text(text) for text in inputs]
    drawn = dict(value_range_from_text(text) for text in ranges)
    module = load_module(reference, weights, say)
    if weights is None:
        say(without_weights(reference))
    if has_step_only(module):
        graphs = export_steps(module, arguments, ranges=drawn, outputs=names, tolerance=tolerance, say=say)
    else:
        graphs = {"": export_module(module, arguments, ranges=drawn, outputs=names, tolerance=tolerance, say=say)}
    tables = []
    for graph, exported in graphs.items():
        for path in write_graph(exported.model, output.with_stem(f"{output.stem}-{graph}") if graph else output):
            say(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
        tables.append(exported_table(f"{reference} {graph}".rstrip(), exported))
    return tables
