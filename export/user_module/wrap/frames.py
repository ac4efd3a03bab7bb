"""The frames that a model of tensors is compared on: random rows of many lengths, by its signature alone. No torch.

Floats are normal, or uniform where the user named a range, and some rows are scaled or constant; integers are uniform
over what is allowed, and every one of few, or those that the module's code names, is read often.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.signature import InputPort, Signature
from models.tasks import PADDING_MULTIPLE
from runtime.frames import Row, batched, num_frames
from runtime.opening import OpenGraphs
from runtime.runner import Array

SHAPES = ((1, 1), (2, 2), (5, 17), (4, 40), (17, 9))  # rows, longest
LONG_SHAPES = ((2, 130), (6, 300))
_SCALES = (1.0, 1.0, 1.0, 0.1, 3.0, 0.0)


def random_rows(
    signature: Signature, shapes: Sequence[tuple[int, int]], seed: int, special: Sequence[int] = ()
) -> list[list[dict[str, Array]]]:
    """Batches of rows.

    Args:
        signature: of the model.
        shapes: of each batch, rows and the longest row's frames; where no padding is taken all rows are as long.
        seed: of the random numbers.
        special: integers that a quarter of an integer input's values are drawn from, as far as they are allowed.
    """
    generator = np.random.default_rng(seed)
    batches = []
    for num_rows, most in shapes:
        longest = max(most, signature.least_frames)
        lengths = np.full(num_rows, longest)
        if signature.takes_padding:
            lengths = generator.integers(signature.least_frames, longest, size=num_rows, endpoint=True)
            lengths[generator.integers(num_rows)] = longest
        batches.append([random_row(signature, int(length), generator, special) for length in lengths])
    return batches


def random_row(
    signature: Signature, length: int, generator: np.random.Generator, special: Sequence[int] = ()
) -> dict[str, Array]:
    """One row of so many frames."""
    scale = float(generator.choice(_SCALES))
    row = {}
    for port in signature.inputs:
        shape = ((length,) if port.has_time else ()) + tuple(port.shape)
        row[port.name] = _values(port, shape, generator, special, scale).astype(port.dtype)
    return row


def _values(
    port: InputPort, shape: tuple[int, ...], generator: np.random.Generator, special: Sequence[int], scale: float
) -> NDArray[np.generic]:
    if port.dtype == "bool":
        return generator.random(shape) < 0.5
    low, high = port.low, port.high
    if port.dtype == "float32":
        is_open = low is None or high is None
        return generator.standard_normal(shape) * scale if is_open else generator.uniform(low, high, shape)  # type: ignore[arg-type]
    assert low is not None
    assert high is not None
    values = generator.integers(int(low), int(high), size=shape, endpoint=True)
    named = [number for number in special if low <= number <= high]
    if named:
        values = np.where(generator.random(shape) < 0.25, generator.choice(named, size=shape), values)
    return values


def advanced(
    opened: OpenGraphs, signature: Signature, rows: Sequence[Row], state: NDArray[np.float32], *, extra: int = 0
) -> dict[str, Array]:
    """What `advance` gives for rows.

    Args:
        opened: the set.
        signature: of the model.
        rows: at least one.
        state: float32 [batch, D]; D is 0 for a model without a state.
        extra: frames that the arrays are longer than a server would make them.
    """
    longest = max(num_frames(signature, row) for row in rows)
    multiple = PADDING_MULTIPLE if signature.takes_padding and not state.shape[1] else 1
    time = -(-longest // multiple) * multiple + extra
    inputs = batched(signature, rows, time) | ({"state": state} if state.shape[1] else {})
    return opened.sequences().run("advance", inputs)
