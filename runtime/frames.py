"""Frames of several sequences as the arrays that a graph takes, and a row's own answer out of what it gives.

A row is what one sequence gives to a call: each input by name, [n, ...] for n frames, or [...] where a call has one.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from models.signature import Port, Signature
from runtime.runner import Array

Row = Mapping[str, Array]
MAX_CHUNK = 32  # frames of a sequence with a state that one call reads


def num_frames(signature: Signature, row: Row) -> int:
    """Frames of a row; 1 where no input has any."""
    timed = signature.timed_inputs
    return len(row[timed[0].name]) if timed else 1


def batched(signature: Signature, rows: Sequence[Row], time: int) -> dict[str, Array]:
    """Inputs of `advance` but for the state: each [batch, time, ...] or [batch, ...], and int32 lengths [batch].

    Args:
        signature: of the model.
        rows: at least one, none longer than `time`; where the model takes no padding all are as long.
        time: frames of the arrays.
    """
    inputs: dict[str, Array] = {}
    for port in signature.inputs:
        values = [row[port.name] for row in rows]
        if not port.has_time:
            inputs[port.name] = np.stack(values)
            continue
        found = np.full((len(rows), time, *port.shape), port.padding, port.dtype)
        for target, value in zip(found, values, strict=True):
            target[: len(value)] = value
        inputs[port.name] = found
    if signature.has_lengths:
        inputs["lengths"] = np.array([num_frames(signature, row) for row in rows], np.int32)
    return inputs


def stepped(signature: Signature, rows: Sequence[Row]) -> dict[str, Array]:
    """Inputs of `step` but for the state: each [batch, ...], of rows of one frame."""
    return {
        port.name: np.stack([row[port.name][0] if port.has_time else row[port.name] for row in rows])
        for port in signature.inputs
    }


def own_answer(port: Port, values: Array, index: int, length: int, *, is_step: bool = False) -> Array:
    """A row's part of an output: [length, ...] where each frame has one, else all that is the row's; a view.

    Args:
        port: the output.
        values: what the graph gave.
        index: of the row in the batch.
        length: its frames.
        is_step: whether the graph was `step`.
    """
    own: Array = values[index]
    if not port.has_time or port.has_own_steps:
        return own
    return own[None] if is_step else own[:length]


def next_chunk(signature: Signature, num_left: int) -> tuple[int, int]:
    """How many frames of a sequence with a state the next call reads, and to how many they are padded.

    Both depend on what is left of the sequence alone, never on the rest of the batch. Rows of models without lengths
    are not padded, so they are read in powers of two.
    """
    length = min(num_left, MAX_CHUNK)
    if signature.takes_padding:
        return length, 1 << (length - 1).bit_length()
    length = 1 << (length.bit_length() - 1)
    return length, length
