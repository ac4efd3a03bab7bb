"""A model of frames in a few lines: integers in a state row, mixed with each frame, so that crossed rows are visible.

It takes `ids` and `values` for each frame and gives `mixed`, the state after each frame, and `last`, a number of its
row's end. Reading a chunk gives the same bits as stepping through it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import RunnerError
from models.signature import InputPort, Port, Signature
from runtime.runner import Array
from server.endpoint import LoadedModel
from tests.server.fake_open_set import FakeOpenSet
from tests.server.fake_runner import STATE_WIDTH, Fake, fake_next_state

SIGNATURE = Signature(
    inputs=[
        InputPort(name="ids", dtype="int64", shape=[], low=0, high=99),
        InputPort(name="values", dtype="float32", shape=[2], may_be_nan=True),
    ],
    outputs=[
        Port(name="mixed", dtype="float32", shape=[STATE_WIDTH]),
        Port(name="last", dtype="int64", shape=[], has_time=False),
    ],
    has_lengths=True,
)
_SPOILT = 7.5  # a value after which the state is not finite

Row = dict[str, NDArray[Any]]


def random_row(generator: np.random.Generator, length: int) -> Row:
    return {
        "ids": generator.integers(100, size=length),
        "values": generator.integers(-50, 50, size=(length, 2)).astype(np.float32),
    }


def cut(row: Row, start: int, stop: int) -> Row:
    return {name: values[start:stop] for name, values in row.items()}


def expected(row: Row, state: NDArray[np.float32] | None = None) -> tuple[dict[str, Array], NDArray[np.float32]]:
    """Outputs and state of one row, frame by frame."""
    state = np.zeros((1, STATE_WIDTH), np.float32) if state is None else state[None]
    mixed = []
    for i, values in zip(row["ids"], row["values"], strict=True):
        state = _next(state, np.array([i]), values[None])
        mixed.append(state[0])
    return {"mixed": np.stack(mixed), "last": np.array(state[0, 0], np.int64)}, state[0]


def _next(state: NDArray[np.float32], ids: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.float32]:
    whole = np.nan_to_num(values).astype(np.int64)
    after = fake_next_state(state, ids + 1000 * (whole[:, 0] % 97) + 7 * (whole[:, 1] % 89))
    return np.where((values == _SPOILT).any(axis=1, keepdims=True), np.float32(np.inf), after)


class FakeFramesRunner(Fake):
    """`fails_at` is an id that makes a call fail.

    Attributes:
        calls: graph, rows and frames, with padding, of each call.
    """

    def __init__(self, *, has_state: bool = True, stride: int = 1) -> None:
        super().__init__()
        self._has_state = has_state
        self._stride = stride
        self.calls: list[tuple[str, int, int]] = []

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self._wait()
        ids, values = inputs["ids"], inputs["values"]
        if graph == "step":
            ids, values = ids[:, None], values[:, None]
        batch, time = ids.shape
        assert values.shape == (batch, time, 2)
        assert (str(ids.dtype), str(values.dtype)) == ("int64", "float32")
        self.calls.append((graph, batch, time))
        if self.fails_at is not None and (ids == self.fails_at).any():
            raise RunnerError("fake failure")
        lengths = np.ones(batch, np.int32) if graph == "step" else inputs["lengths"]
        assert str(lengths.dtype) == "int32"
        state = inputs["state"] if self._has_state else np.zeros((batch, STATE_WIDTH), np.float32)
        if self._stride > 1:
            assert (lengths == time).all(), "such rows are read without padding"
        elif not self._has_state:
            assert time % 16 == 0
        mixed = []
        with np.errstate(invalid="ignore"):
            for t in range(time):
                state = np.where((t < lengths)[:, None], _next(state, ids[:, t], values[:, t]), state)
                mixed.append(state)
            found = {
                "mixed": np.stack(mixed[:: self._stride], axis=1),
                "last": np.nan_to_num(state[:, 0], posinf=0).astype(np.int64),
            }
        if graph == "step":
            found["mixed"] = found["mixed"][:, 0]
        return found | ({"new_state": state} if self._has_state else {})


class FakeFramesSet(FakeOpenSet):
    """A set whose graphs that take sequences are those."""

    def __init__(self, *, has_state: bool = True, stride: int = 1) -> None:
        super().__init__(1)
        self.frames_runner = FakeFramesRunner(has_state=has_state, stride=stride)

    def sequences(self) -> Any:
        return self.frames_runner


def fake_frames_model(
    name: str = "frames", version: int = 1, *, has_state: bool = True, stride: int = 1
) -> LoadedModel:
    """With a stride, `mixed` has a step for every so many frames; such a model has no state."""
    signature = SIGNATURE
    if stride > 1:
        mixed = SIGNATURE.outputs[0].model_copy(update={"has_own_steps": True})
        signature = SIGNATURE.model_copy(update={"outputs": [mixed, SIGNATURE.outputs[1]], "least_frames": 3})
    model = LoadedModel(
        name=name,
        version=version,
        task="sequence",
        precision="fp32",
        backend="fake",
        bundle_sha256=f"{name}/{version}",
        opened=FakeFramesSet(has_state=has_state, stride=stride),
        signature=signature,
    )
    return replace(model, state_width=STATE_WIDTH) if has_state else model


def runner_of(model: LoadedModel) -> FakeFramesRunner:
    assert isinstance(model.opened, FakeFramesSet)
    return model.opened.frames_runner
