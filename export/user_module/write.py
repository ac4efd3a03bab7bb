"""A graph to a file, its weights beside it where they are large."""

import tempfile
from pathlib import Path

import onnx

from export.onnx.weights import save_graphs
from models.digest import write_durably
from models.errors import ExportError

LARGE = 256 * 2**20  # bytes; a larger graph keeps its weights in a file beside it


def write_graph(model: onnx.ModelProto, path: Path, *, large: int = LARGE) -> list[Path]:
    """Write a graph; one larger than `large` bytes keeps its weights in PATH.data beside it.

    Returns:
        The files written.

    Raises:
        ExportError: the path does not end in .onnx, or its folder is missing.
    """
    if path.suffix != ".onnx":
        raise ExportError(f"{path} does not end in .onnx.")
    if not path.parent.is_dir():
        raise ExportError(f"There is no folder {path.parent} to write {path.name} to.")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as folder:
        if model.ByteSize() <= large:
            write_durably(Path(folder) / path.name, model.SerializeToString())
        else:
            outside = onnx.ModelProto()
            outside.CopyFrom(model)  # because weights that are written outside leave the model
            save_graphs(Path(folder), {path.stem: outside}, f"{path.name}.data")
        written = sorted(Path(folder).iterdir(), reverse=True)  # the weights first, so the graph never lacks them
        return sorted(file.replace(path.parent / file.name) for file in written)
