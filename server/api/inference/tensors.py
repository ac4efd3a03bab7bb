"""Tensors of the Open Inference Protocol: JSON, and the binary-tensor extension, to numpy arrays and back.

In JSON `data` is flat or nested in the shape, in row-major order. With the extension a body is a JSON object of as many
bytes as the header `Inference-Header-Content-Length` says, then the raw little-endian bytes of each tensor that has a
`binary_data_size`, in the order of the tensors. JSON has no NaN and no infinity: in an answer they are null.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from starlette.responses import Response

from models.config import FrozenModel
from runtime.runner import Array
from server.errors import BadRequestError, FieldError, shown
from server.http.access import JsonAnswer, json_of
from server.http.body import request_from

HEADER_LENGTH = "inference-header-content-length"
TEXT = np.dtype(object)  # of bytes objects
DATATYPES = {
    "BOOL": np.dtype("bool"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP32": np.dtype("<f4"),
    "BYTES": TEXT,
}
DATATYPE_OF = {dtype: name for name, dtype in DATATYPES.items()}
MOST_TENSORS = 64  # inputs or outputs of a request
MOST_AXES = 16
MOST_NUMBERS = 1 << 31  # of an input, axes of no size left out
MOST_TEXTS = 256  # entries of an input of BYTES
PROTOCOL_PARAMETERS = ("timeout", "priority", "binary_data_output")  # of a request for any model
_SIZE = "binary_data_size"
_MOST_DIGITS = 20  # of a number of bytes; Python reads no number of thousands

Parameters = Annotated[dict[str, Any], Field(max_length=64)]
Name = Annotated[str, Field(min_length=1, max_length=256)]


class InputTensor(FrozenModel):
    """One input as a request has it."""

    name: Name
    shape: list[Annotated[int, Field(ge=0, le=1 << 31)]] = Field(max_length=MOST_AXES)
    datatype: Annotated[str, Field(max_length=32)]
    parameters: Parameters = Field(default_factory=dict)
    data: list[Any] | None = None


class WantedOutput(FrozenModel):
    """One output as a request asks for it."""

    name: Name
    parameters: Parameters = Field(default_factory=dict)


class InferRequest(FrozenModel):
    """Give tensors to a model."""

    id: Annotated[str, Field(max_length=256)] | None = Field(None, description="Returned as it is.")
    parameters: Parameters = Field(default_factory=dict, description="Such as sequence_id.")
    inputs: list[InputTensor] = Field(min_length=1, max_length=MOST_TENSORS, description="Each input of the model.")
    outputs: list[WantedOutput] | None = Field(
        None, max_length=MOST_TENSORS, description="What is wanted of the model's outputs; all where it is left out."
    )


@dataclass(frozen=True)
class Asked:
    """A request that has been read.

    Attributes:
        id: the client's, or None.
        parameters: as they came.
        inputs: by name.
        outputs: the names that are wanted, with whether each is wanted as raw bytes; None for all.
        is_binary: whether outputs that do not say so are wanted as raw bytes.
    """

    id: str | None
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Array]
    outputs: Mapping[str, bool] | None
    is_binary: bool


def asked_from(body: bytes, header_length: str | None) -> Asked:
    """Read a request.

    Args:
        body: the whole.
        header_length: the header of that name, where the request has it.

    Raises:
        BadJsonError: the JSON is none.
        FieldError: a field or a tensor is wrong; the message names it.
    """
    size = len(body)
    if header_length is not None:
        is_number = header_length.isascii() and header_length.isdigit() and len(header_length) <= _MOST_DIGITS
        if not is_number or int(header_length) > len(body):
            raise BadRequestError(
                f"{HEADER_LENGTH}: must be the number of bytes of the JSON object, at most the {len(body)} of the body "
                f"(got {shown(header_length)}).",
                param=HEADER_LENGTH,
            )
        size = int(header_length)
    head = request_from(InferRequest, body[:size], max_entries=None)
    raw = memoryview(body)[size:]
    may_hold_flags = b"true" in body[:size] or b"false" in body[:size]
    inputs: dict[str, Array] = {}
    start = 0
    for tensor in head.inputs:
        if tensor.name in inputs:
            raise FieldError(f"Input {shown(tensor.name)} is given twice.", param="inputs")
        dtype = DATATYPES.get(tensor.datatype)
        if dtype is None:
            raise FieldError(
                f"Input {shown(tensor.name)} has datatype {shown(tensor.datatype)}; known are {', '.join(DATATYPES)}.",
                param="inputs",
            )
        if prod(size for size in tensor.shape if size) > MOST_NUMBERS:  # numpy makes none, even with a 0
            raise FieldError(
                f"Input {shown(tensor.name)}: shape {tensor.shape} has too many numbers; at most {MOST_NUMBERS}.",
                param="inputs",
            )
        if tensor.datatype == "BYTES" and prod(tensor.shape) > MOST_TEXTS:
            raise FieldError(
                f"Input {shown(tensor.name)}: shape {tensor.shape} has {prod(tensor.shape)} texts; at most "
                f"{MOST_TEXTS} are allowed. Send several requests.",
                param="inputs",
            )
        num_bytes = tensor.parameters.get(_SIZE)
        if num_bytes is None:
            inputs[tensor.name] = _from_json(tensor, dtype, may_hold_flags=may_hold_flags)
        else:
            inputs[tensor.name] = _from_bytes(tensor, dtype, num_bytes, raw[start:])
            start += num_bytes
    if start != len(raw):
        raise FieldError(
            f"{len(raw)} bytes follow the JSON object, and the inputs' binary_data_size adds up to {start}. They must "
            f"agree; {HEADER_LENGTH} says where the JSON ends.",
            param="inputs",
        )
    is_binary = _flag(head.parameters, "binary_data_output")
    outputs = None
    if head.outputs is not None:
        outputs = {item.name: _flag(item.parameters, "binary_data", default=is_binary) for item in head.outputs}
        for item in head.outputs:
            if "classification" in item.parameters:
                raise FieldError(
                    f"Output {shown(item.name)}: the classification extension is not offered; ask for the tensor.",
                    param="outputs",
                )
    return Asked(head.id, head.parameters, inputs, outputs, is_binary)


def answer_of(asked: Asked, model: str, version: int, found: Mapping[str, Array]) -> Response:
    """The answer.

    Args:
        asked: the request.
        model: the model's name.
        version: its version.
        found: its outputs, in order, of the dtypes in DATATYPES.

    Raises:
        FieldError: an output is wanted that the model does not have.
    """
    wanted = asked.outputs or dict.fromkeys(found, asked.is_binary)
    entries, pieces = [], []
    for name, is_binary in wanted.items():
        if name not in found:
            raise FieldError(f"The model has no output {shown(name)}. Outputs: {', '.join(found)}.", param="outputs")
        values = np.ascontiguousarray(found[name])
        entry: dict[str, Any] = {
            "name": name,
            "datatype": DATATYPE_OF[values.dtype],
            "shape": list(values.shape),
        }
        if is_binary:
            pieces.append(values.tobytes() if values.dtype != TEXT else _raw_texts(values))
            entry["parameters"] = {_SIZE: len(pieces[-1])}
        else:
            entry["data"] = values.ravel() if values.dtype != TEXT else [text.decode() for text in values.ravel()]
        entries.append(entry)
    head = {"model_name": model, "model_version": str(version), "outputs": entries}
    if asked.id is not None:
        head["id"] = asked.id
    if not pieces:
        return JsonAnswer(head)
    first = json_of(head)
    headers = {HEADER_LENGTH: str(len(first))}
    return Response(b"".join((first, *pieces)), media_type="application/octet-stream", headers=headers)


def seconds_from(parameters: Mapping[str, Any]) -> float | None:
    """The time that a request may take, by its parameter `timeout`; None where it says nothing. Raises FieldError."""
    timeout = parameters.get("timeout")
    if timeout is None:
        return None
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout <= 0:
        raise FieldError(
            f"timeout: must be a whole number of microseconds above 0 (got {shown(timeout)}).", param="timeout"
        )
    return timeout / 1e6


def _flag(parameters: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise FieldError(f"{name}: must be true or false (got {shown(value)}).", param=name)
    return value


def _from_bytes(tensor: InputTensor, dtype: np.dtype[Any], num_bytes: Any, raw: memoryview) -> Array:
    name = shown(tensor.name)
    if tensor.data is not None:
        raise FieldError(f"Input {name} has both data and {_SIZE}; give one of them.", param="inputs")
    if not isinstance(num_bytes, int) or isinstance(num_bytes, bool) or num_bytes < 0:
        raise FieldError(
            f"Input {name}: {_SIZE} must be a whole number of bytes (got {shown(num_bytes)}).", param="inputs"
        )
    wanted = prod(tensor.shape) * dtype.itemsize
    if dtype != TEXT and num_bytes != wanted:
        raise FieldError(
            f"Input {name}: {_SIZE} is {shown(num_bytes)}; shape {tensor.shape} of {tensor.datatype} has {wanted} "
            "bytes.",
            param="inputs",
        )
    if num_bytes > len(raw):
        raise FieldError(
            f"Input {name} has {num_bytes} bytes, and only {len(raw)} are left after the JSON object. {HEADER_LENGTH} "
            "says where that ends.",
            param="inputs",
        )
    if dtype == TEXT:
        return _texts_from_raw(name, tensor, raw[:num_bytes])
    values = np.frombuffer(raw[:num_bytes], np.uint8 if dtype.kind == "b" else dtype)
    return (values != 0 if dtype.kind == "b" else values).reshape(tensor.shape)


def _from_json(tensor: InputTensor, dtype: np.dtype[Any], *, may_hold_flags: bool) -> Array:
    """`may_hold_flags`: whether true or false stands somewhere in the request; numpy takes them for 1 and 0."""
    name = shown(tensor.name)
    if tensor.data is None:
        raise FieldError(
            f"Input {name} has no data: send it in JSON, or as bytes with {_SIZE} in its parameters.", param="inputs"
        )
    if dtype == TEXT:
        return _texts_from_json(name, tensor)
    try:
        values = np.asarray(tensor.data)
        if values.dtype.kind == "O":  # null, an object, or a number beyond 64 bits
            values = _with_nulls(tensor.data, dtype)
    except (ValueError, OverflowError):
        raise FieldError(
            f"Input {name}: data is ragged, or holds what is no number. Its lists must be alike in length, or it is "
            "one flat list.",
            param="inputs",
        ) from None
    if not values.size:
        values = values.astype(dtype)
    if may_hold_flags and dtype.kind != "b" and any(isinstance(item, bool) for item in _items(tensor.data)):
        raise FieldError(
            f"Input {name}: data holds true or false, and its datatype is {tensor.datatype}.", param="inputs"
        )
    if values.dtype.kind not in {"b": "b", "i": "iu", "f": "fiu"}[dtype.kind]:
        raise FieldError(
            f"Input {name}: data holds {_kind(values)}, and its datatype is {tensor.datatype}.", param="inputs"
        )
    if values.size != prod(tensor.shape):
        raise FieldError(
            f"Input {name}: data has {values.size} numbers, and shape {tensor.shape} has {prod(tensor.shape)}.",
            param="inputs",
        )
    if values.ndim > 1 and list(values.shape) != tensor.shape:
        raise FieldError(
            f"Input {name}: data is nested as {list(values.shape)}, and its shape is {tensor.shape}.", param="inputs"
        )
    return _cast(name, tensor, values, dtype).reshape(tensor.shape)


def _raw_texts(values: Array) -> bytes:
    """BYTES as raw bytes: before each entry its length, 4 bytes, little-endian."""
    return b"".join(len(text).to_bytes(4, "little") + text for text in values.ravel())


def _texts_from_raw(name: str, tensor: InputTensor, raw: memoryview) -> Array:
    """The reverse of `_raw_texts`. Raises FieldError."""
    texts: list[bytes] = []
    start = 0
    while start + 4 <= len(raw) and len(texts) < MOST_TEXTS:
        stop = start + 4 + int.from_bytes(raw[start : start + 4], "little")
        if stop > len(raw):
            break
        texts.append(bytes(raw[start + 4 : stop]))
        start = stop
    if start != len(raw):
        raise FieldError(
            f"Input {name}: the bytes end inside text {len(texts)}. Before each text stands its length in bytes, as a "
            "little-endian number of 4 bytes.",
            param="inputs",
        )
    return _texts_in_shape(name, tensor, texts)


def _texts_from_json(name: str, tensor: InputTensor) -> Array:
    """Texts of a list of strings, or of nested ones. Raises FieldError."""
    texts = tensor.data or []
    for _ in range(MOST_AXES):  # deeper ones are no texts
        if not any(isinstance(item, list) for item in texts):
            break
        texts = [inner for item in texts for inner in (item if isinstance(item, list) else [item])]
    if not all(isinstance(text, str) for text in texts):
        wrong = next(text for text in texts if not isinstance(text, str))
        raise FieldError(f"Input {name}: data holds {shown(wrong)}; BYTES are strings here.", param="inputs")
    return _texts_in_shape(name, tensor, [text.encode() for text in texts])


def _texts_in_shape(name: str, tensor: InputTensor, texts: Sequence[bytes]) -> Array:
    if len(texts) != prod(tensor.shape):
        raise FieldError(
            f"Input {name}: data has {len(texts)} texts, and shape {tensor.shape} has {prod(tensor.shape)}.",
            param="inputs",
        )
    found = np.empty(len(texts), object)
    found[:] = texts
    return found.reshape(tensor.shape)


def _items(data: Any) -> Iterator[Any]:
    """The numbers of nested lists."""
    for item in data:
        if isinstance(item, list):
            yield from _items(item)
        else:
            yield item


def _cast(name: str, tensor: InputTensor, values: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "i" and values.size:
        limits = np.iinfo(dtype)
        if int(values.min()) < limits.min or int(values.max()) > limits.max:
            raise FieldError(f"Input {name}: a number is too large for {tensor.datatype}.", param="inputs")
    with np.errstate(over="ignore"):
        found = values.astype(dtype)
    if dtype.kind == "f" and np.isinf(found).any():
        raise FieldError(f"Input {name}: a number is too large for {tensor.datatype}.", param="inputs")
    return found


def _with_nulls(data: Sequence[Any], dtype: np.dtype[Any]) -> Array:
    """Floats, null being NaN. Raises ValueError for anything else."""
    flat = np.array(data, dtype=object)
    if dtype.kind != "f" or any(item is not None and type(item) not in (int, float) for item in flat.ravel().tolist()):
        raise ValueError
    return flat.astype(np.float64)


def _kind(values: Array) -> str:
    return {"b": "true or false", "i": "whole numbers", "u": "whole numbers", "f": "numbers with a fraction"}.get(
        values.dtype.kind, "text"
    )
