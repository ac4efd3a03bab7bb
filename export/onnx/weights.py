"""Several graphs, one weights file: constants go to weights.bin once, however many graphs hold them.

Offsets and lengths are set by hand, because `onnx.save_model` appends on every call. Each array starts at a multiple
of 64 bytes; small constants stay inside their graph.
"""

import hashlib
from pathlib import Path

import onnx
from onnx import TensorProto

from models.digest import write_durably

WEIGHTS = "weights.bin"
ALIGNMENT = 64
SMALLEST = 1024  # bytes


def save_graphs(folder: Path, graphs: dict[str, onnx.ModelProto], weights: str = WEIGHTS) -> None:
    """Write `<name>.onnx` for each graph and one file of weights for all.

    Args:
        folder: where to; it exists.
        graphs: name -> model with its constants inside. Changed: afterwards they refer to the file.
        weights: the file's name.
    """
    offsets: dict[bytes, int] = {}
    content = bytearray()
    for model in graphs.values():
        for tensor in model.graph.initializer:
            raw = _raw_bytes(tensor)
            if len(raw) < SMALLEST:
                continue
            digest = hashlib.sha256(raw).digest()
            if digest not in offsets:
                content.extend(bytes(-len(content) % ALIGNMENT))
                offsets[digest] = len(content)
                content.extend(raw)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", weights), ("offset", offsets[digest]), ("length", len(raw))):
                tensor.external_data.add(key=key, value=str(value))
    write_durably(folder / weights, bytes(content))
    for name, model in graphs.items():
        write_durably(folder / f"{name}.onnx", model.SerializeToString())


def _raw_bytes(tensor: TensorProto) -> bytes:
    if not tensor.HasField("raw_data"):
        plain = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name)
        tensor.CopyFrom(plain)
    return bytes(tensor.raw_data)
