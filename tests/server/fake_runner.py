"""A model in twenty lines: integers in a state row, mixed with each token, and logits that are a hash of the row.

Any mistake about whose state or token it was changes everything that follows, so crossed rows become visible. Reading
a chunk gives the same bits as stepping through it.
"""

import threading
import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.errors import RunnerError
from runtime.runner import Array

STATE_WIDTH = 3
NUM_CLASSES = 3
_PRIME = 65521  # below 2^16, so that every number of a row is exact in float32


def fake_next_state(states: NDArray[np.float32], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
    """States float32 [n, STATE_WIDTH] after one token each, int64 [n]."""
    old = states.astype(np.int64)
    mixed = (old * 31 + old[:, [2, 0, 1]] * 17 + (tokens[:, None] + 1) * [101, 1009, 7919]) % _PRIME
    return mixed.astype(np.float32)


def fake_logits(states: NDArray[np.float32], vocab_size: int) -> NDArray[np.float32]:
    """Logits float32 [n, vocab_size], 0 to 8, of the states."""
    seen = states.astype(np.int64) @ [1, 4099, 16_785_407]
    return ((seen[:, None] + 1) * np.arange(7, 7 + vocab_size) ** 3 % 8191 / 1024).astype(np.float32)


def fake_memory(ids: NDArray[np.int64]) -> dict[str, Array]:
    """What the encoder makes of ids [n, S]: memory float32 [n, S, 2], keys float32 [n, S, 1]."""
    mixed = (ids + 1) * 7919 % 4093 + np.arange(ids.shape[1]) * 31
    return {
        "memory": np.stack([mixed, mixed % 97], axis=2).astype(np.float32),
        "keys": (mixed[:, :, None] % 13).astype(np.float32),
    }


def fake_attention(state: NDArray[np.float32], memory: Mapping[str, Array]) -> NDArray[np.float32]:
    """Attention float32 [S] of one state row over its source."""
    z = (memory["memory"][:, 0] * (state[0] % 7 + 1) + state[1]) % 11 / 3 + memory["keys"][:, 0] / 9
    weights = np.exp(z.astype(np.float32))
    attention: NDArray[np.float32] = weights / weights.sum()
    return attention


class FakeSequenceRunner:
    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self.calls: list[tuple[int, ...]] = []  # the lengths of each
        self.fails_at: int | None = None  # a token that makes the call fail
        self.is_broken_at: int | None = None  # a token that makes its text's classes not finite
        self.gate: threading.Event | None = None  # calls wait for it

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if self.gate is not None:
            assert self.gate.wait(30)
        ids, lengths = inputs["ids"], inputs["lengths"]
        assert [str(array.dtype) for array in (ids, lengths)] == ["int64", "int32"]
        assert lengths.min() >= 1
        self.calls.append(tuple(lengths.tolist()))
        if self.fails_at is not None and (ids == self.fails_at).any():
            raise RunnerError("fake failure")
        state = inputs["state"] if graph == "advance" else np.zeros((len(ids), STATE_WIDTH), np.float32)
        assert str(state.dtype) == "float32"
        for t in range(ids.shape[1]):
            state = np.where((t < lengths)[:, None], fake_next_state(state, ids[:, t]), state)
        if graph == "advance":
            return {"logits": fake_logits(state, self._vocab_size), "new_state": state}
        assert ids.shape[1] % 16 == 0, "these graphs are exact only when padded to multiples of 16"
        if graph == "encode":
            return {**fake_memory(ids), "state": state}
        assert graph == "classify"
        logits = fake_logits(state, NUM_CLASSES)
        if self.is_broken_at is not None:
            logits[(ids == self.is_broken_at).any(axis=1)] = np.nan
        return {"logits": logits}


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


class FakeAttentionStepRunner:
    """As FakeStepRunner, with a memory for each row: the logits are a hash of it too."""

    def __init__(self, capacity: int, vocab_size: int) -> None:
        self.capacity = capacity
        self.attention = np.zeros((0, 0), np.float32)
        self._vocab_size = vocab_size
        self._slots: dict[int, tuple[NDArray[np.float32], Mapping[str, Array]]] = {}
        self.num_rows: list[int] = []  # rows of each step
        self.fails_at: int | None = None
        self.is_broken_at: int | None = None  # logits of sources with this length are not finite
        self.gate: threading.Event | None = None  # steps wait for it
        self.seconds = 0.0  # what a step takes at least

    def put(self, slot: int, row: NDArray[np.float32], memory: Mapping[str, Array] | None = None) -> None:
        assert 0 <= slot < self.capacity
        assert memory is not None
        assert memory["memory"].shape[0] == memory["keys"].shape[0]
        self._slots[slot] = (row.copy(), memory)

    def get(self, slot: int) -> NDArray[np.float32]:
        return self._slots[slot][0].copy()

    def memory_of(self, slot: int) -> Mapping[str, Array]:
        """What the row attends to."""
        return self._slots[slot][1]

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[np.float32]:
        if self.gate is not None:
            assert self.gate.wait(30)
        if self.seconds:
            time.sleep(self.seconds)
        assert [str(array.dtype) for array in (tokens, parents)] == ["int64", "int64"]
        assert len(tokens) == len(parents) <= self.capacity // 2
        self.num_rows.append(len(tokens))
        rows = [self._slots[parent] for parent in parents.tolist()]
        lengths = [len(memory["memory"]) for _, memory in rows]
        if self.fails_at in lengths:
            raise RunnerError("fake failure")
        states = fake_next_state(np.stack([state for state, _ in rows]), tokens)
        self._slots = {i: (state, rows[i][1]) for i, state in enumerate(states)}
        self.attention = np.zeros((len(rows), -(-max(lengths) // 16) * 16), np.float32)
        for i, (state, (_, memory)) in enumerate(zip(states, rows, strict=True)):
            self.attention[i, : lengths[i]] = fake_attention(state, memory)
        sums = np.array([[memory["memory"].sum(), 0, 0] for _, memory in rows], np.float32)
        logits = fake_logits((states + sums) % _PRIME, self._vocab_size)
        logits[np.array(lengths) == self.is_broken_at] = np.nan
        return logits
