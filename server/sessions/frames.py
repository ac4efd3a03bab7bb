"""Frames as sessions keep them: each as one row of bytes, its inputs one after the other as the signature has them."""

import numpy as np
from numpy.typing import NDArray

from models.signature import Signature
from runtime.frames import Row
from runtime.runner import Array
from server.errors import FieldError

Packed = NDArray[np.uint8]  # [length, bytes of a frame]


def frame_bytes(signature: Signature, model: str) -> int:
    """Bytes of a frame of a model.

    Raises:
        FieldError: the model takes more than frames, which a session could not read again.
    """
    others = [port.name for port in signature.inputs if not port.has_time]
    if others:
        raise FieldError(
            f"model: {model} takes {', '.join(others)} once a call, so its frames alone do not make a session. Use "
            "sequence_id of /v2.",
            param="model",
        )
    return sum(port.bytes_per_frame for port in signature.timed_inputs)


def are_allowed(signature: Signature, frames: Packed) -> bool:
    """Whether frames hold what the model takes."""
    row = row_from_frames(signature, frames)
    return not any(port.wrong(row[port.name]).any() for port in signature.timed_inputs)


def frames_from_row(signature: Signature, row: Row) -> Packed:
    """The frames of a row."""
    pieces = [
        np.ascontiguousarray(row[port.name]).reshape(len(row[port.name]), -1).view(np.uint8)
        for port in signature.timed_inputs
    ]
    return np.concatenate(pieces, axis=1)


def row_from_frames(signature: Signature, frames: Packed) -> dict[str, Array]:
    """The inputs of frames again."""
    row: dict[str, Array] = {}
    start = 0
    for port in signature.timed_inputs:
        stop = start + port.bytes_per_frame
        piece = np.ascontiguousarray(frames[:, start:stop])
        row[port.name] = piece.view(port.dtype).reshape(len(frames), *port.shape)
        start = stop
    return row
