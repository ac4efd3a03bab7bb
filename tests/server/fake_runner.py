"""A model in twenty lines: integers in a state row, mixed with each token, and logits that are a hash of the row.

Any mistake about whose state or token it was changes everything that follows, so crossed rows become visible. Reading
a chunk gives the same bits as stepping through it.
"""

import threading
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from export.backends.runner import Array
from models.errors import RunnerError

STATE_WIDTH = 3
_PRIME = 65521  # below 2^16, so that every number of a row is exact in float32


def fake_next_state(states: NDArray[np.float32], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
    """States float32 [n, STATE_WIDTH] after one token each, int64 [n]."""
    old = states.astype(np.int64)
    mixed = (old * 31 + np.roll(old, 1, axis=1) * 17 + (tokens[:, None] + 1) * [101, 1009, 7919]) % _PRIME
    return mixed.astype(np.float32)


def fake_logits(states: NDArray[np.float32], vocab_size: int) -> NDArray[np.float32]:
    """Logits float32 [n, vocab_size], 0 to 8, of the states."""
    seen = states.astype(np.int64) @ [1, 4099, 16_785_407]
    return ((seen[:, None] + 1) * np.arange(7, 7 + vocab_size) ** 3 % 8191 / 1024).astype(np.float32)


class FakeSequenceRunner:
    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self.calls: list[tuple[int, ...]] = []  # the lengths of each
        self.fails_at: int | None = None  # a token that makes the call fail

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        ids, lengths, state = inputs["ids"], inputs["lengths"], inputs["state"]
        assert graph == "advance"
        assert [str(array.dtype) for array in (ids, lengths, state)] == ["int64", "int32", "float32"]
        assert lengths.min() >= 1
        self.calls.append(tuple(lengths.tolist()))
        if self.fails_at is not None and (ids == self.fails_at).any():
            raise RunnerError("fake failure")
        for t in range(ids.shape[1]):
            state = np.where((t < lengths)[:, None], fake_next_state(state, ids[:, t]), state)
        return {"logits": fake_logits(state, self._vocab_size), "new_state": state}


class FakeStepRunner:
    def __init__(self, capacity: int, vocab_size: int) -> None:
        self.capacity = capacity
        self._vocab_size = vocab_size
        self._slots: dict[int, NDArray[np.float32]] = {}
        self.num_rows: list[int] = []  # rows of each step
        self.fails_at: int | None = None
        self.is_broken_at: int | None = None  # a token after which logits are not finite
        self.gate: threading.Event | None = None  # steps wait for it

    def put(self, slot: int, row: NDArray[np.float32], memory: Mapping[str, Array] | None = None) -> None:
        assert 0 <= slot < self.capacity
        assert memory is None
        self._slots[slot] = row.copy()

    def get(self, slot: int) -> NDArray[np.float32]:
        return self._slots[slot].copy()

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[np.float32]:
        if self.gate is not None:
            assert self.gate.wait(30)
        assert [str(array.dtype) for array in (tokens, parents)] == ["int64", "int64"]
        assert len(tokens) == len(parents) <= self.capacity
        self.num_rows.append(len(tokens))
        if self.fails_at is not None and (tokens == self.fails_at).any():
            raise RunnerError("fake failure")
        states = fake_next_state(np.stack([self._slots[parent] for parent in parents.tolist()]), tokens)
        self._slots = dict(enumerate(states))  # what other slots held is forgotten
        logits = fake_logits(states, self._vocab_size)
        if self.is_broken_at is not None:
            logits[tokens == self.is_broken_at] = np.nan
        return logits
