"""A model in twenty lines: integers in a state row, mixed with each token, and logits that are a hash of the row.

Any mistake about whose state or token it was changes everything that follows, so crossed rows become visible. Reading
a chunk gives the same bits as stepping through it, and `decode` the same as `step` with the sampler around it.
"""

import threading
import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.decoding.candidates import top_candidates
from models.decoding.inverse_cdf import NARROW
from models.decoding.sampler import FILTERED, GREEDY, NOT_FINITE, PLAIN, ROW, Sampler
from models.errors import RunnerError
from models.graph_set import GraphSet
from runtime.runner import Array

STATE_WIDTH = 3
NUM_CLASSES = 3
_PRIME = 65521  # below 2^16, so that every number of a row is exact in float32
_MASK = (1 << 64) - 1


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


def fake_memory_logits(
    states: NDArray[np.float32], memories: Sequence[Mapping[str, Array]], vocab_size: int
) -> NDArray[np.float32]:
    """Logits float32 [n, vocab_size] of states and what they attend to."""
    sums = np.array([[memory["memory"].sum(), 0, 0] for memory in memories], np.float32)
    return fake_logits((states + sums) % _PRIME, vocab_size)


class Fake:
    """What can be done to every fake.

    Attributes:
        gate: calls wait for it.
        seconds: what a call takes at least.
        fails_at: a token that makes a call fail; with memories, the length of a source.
        is_broken_at: a token after which numbers are not finite; with memories, the length of a source.
        is_broken_after: with memories, a token after which numbers are not finite.
    """

    def __init__(self) -> None:
        self.gate: threading.Event | None = None
        self.seconds = 0.0
        self.fails_at: int | None = None
        self.is_broken_at: int | None = None
        self.is_broken_after: int | None = None

    def _wait(self) -> None:
        if self.gate is not None:
            assert self.gate.wait(30)
        if self.seconds:
            time.sleep(self.seconds)


class FakeSequenceRunner(Fake):
    def __init__(self, vocab_size: int, end_id: int | None = None) -> None:
        super().__init__()
        self._vocab_size = vocab_size
        self._chooser = Chooser(vocab_size, end_id)
        self.calls: list[tuple[int, ...]] = []  # the lengths of each that reads
        self.num_choices: list[int] = []  # rows of each that chooses

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self._wait()
        if graph == "choose":
            self.num_choices.append(len(inputs["logits"]))
            options = {name: array for name, array in inputs.items() if name != "logits"}
            return {"tokens": self._chooser.choose(inputs["logits"], options)}
        ids, lengths = inputs["ids"], inputs["lengths"]
        assert [str(array.dtype) for array in (ids, lengths)] == ["int64", "int32"]
        assert lengths.min() >= 1
        self.calls.append(tuple(lengths.tolist()))
        if self.fails_at is not None and (ids == self.fails_at).any():
            raise RunnerError("fake failure")
        state = inputs["state"] if graph == "advance" else np.zeros((len(ids), STATE_WIDTH), np.float32)
        assert str(state.dtype) == "float32"
        states = []
        for t in range(ids.shape[1]):
            states.append(state := np.where((t < lengths)[:, None], fake_next_state(state, ids[:, t]), state))
        if graph == "advance":
            return {"logits": fake_logits(state, self._vocab_size), "new_state": state}
        assert ids.shape[1] % 16 == 0, "these graphs are exact only when padded to multiples of 16"
        if graph == "encode":
            return {**fake_memory(ids), "state": state}
        if graph == "tag":
            logits = np.stack([fake_logits(each, NUM_CLASSES) for each in states], axis=1)
        else:
            assert graph == "classify"
            logits = fake_logits(state, NUM_CLASSES)
        if self.is_broken_at is not None:
            logits[(ids == self.is_broken_at).any(axis=1)] = np.nan
        return {"logits": logits}


class FakeStepRunner(Fake):
    def __init__(self, capacity: int, vocab_size: int) -> None:
        super().__init__()
        self.capacity = capacity
        self._vocab_size = vocab_size
        self._slots: dict[int, NDArray[np.float32]] = {}
        self.num_rows: list[int] = []  # rows of each step

    def put(self, slot: int, row: NDArray[np.float32], memory: Mapping[str, Array] | None = None) -> None:
        assert 0 <= slot < self.capacity
        assert memory is None
        self._slots[slot] = row.copy()

    def get(self, slot: int) -> NDArray[np.float32]:
        return self._slots[slot].copy()

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[np.float32]:
        self._wait()
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


class FakeAttentionStepRunner(Fake):
    """As FakeStepRunner, with a memory for each row: the logits are a hash of it too."""

    def __init__(self, capacity: int, vocab_size: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.attention = np.zeros((0, 0), np.float32)
        self._vocab_size = vocab_size
        self._slots: dict[int, tuple[NDArray[np.float32], Mapping[str, Array]]] = {}
        self.num_rows: list[int] = []  # rows of each step

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
        self._wait()
        assert [str(array.dtype) for array in (tokens, parents)] == ["int64", "int64"]
        assert len(tokens) == len(parents) <= self.capacity // 2
        self.num_rows.append(len(tokens))
        rows = [self._slots[parent] for parent in parents.tolist()]
        memories = [memory for _, memory in rows]
        lengths = [len(memory["memory"]) for memory in memories]
        if self.fails_at in lengths:
            raise RunnerError("fake failure")
        states = fake_next_state(np.stack([state for state, _ in rows]), tokens)
        self._slots = {i: (state, memories[i]) for i, state in enumerate(states)}
        self.attention = attention_of(states, memories)
        logits = fake_memory_logits(states, memories, self._vocab_size)
        logits[(np.array(lengths) == self.is_broken_at) | (tokens == self.is_broken_after)] = np.nan
        return logits


class FakeDecodeRunner(Fake):
    """As FakeStepRunner and FakeAttentionStepRunner, several tokens in one call.

    Args:
        capacity: slots.
        vocab_size: V.
        end_id: the end token's id, or None.
        has_memory: whether rows attend to something: greedy decoding with log-probabilities and attention.
    """

    def __init__(self, capacity: int, vocab_size: int, end_id: int | None = None, *, has_memory: bool = False) -> None:
        super().__init__()
        self.capacity = capacity
        self._vocab_size = vocab_size
        self._has_memory = has_memory
        self._chooser = Chooser(vocab_size, end_id)
        names = {"token", "forced"} if has_memory else {"token", "forced", *self._chooser.input_names}
        self.input_names = frozenset(names)
        self._states = np.full((capacity, STATE_WIDTH), np.nan, np.float32)
        self._before = self._states.copy()
        self._memories: list[Mapping[str, Array]] = [{}] * capacity
        self.windows: list[tuple[int, int]] = []  # rows and steps of each call
        self.wanted: list[tuple[str, ...]] = []  # outputs of each call
        self.num_replays = 0

    def put(self, slot: int, row: NDArray[np.float32], memory: Mapping[str, Array] | None = None) -> None:
        assert self._has_memory == (memory is not None)
        self._states[slot] = row
        self._before[slot] = np.nan  # nobody may ask for it
        self._memories[slot] = memory or {}

    def get(self, slot: int) -> NDArray[np.float32]:
        row: NDArray[np.float32] = self._states[slot].copy()
        return row

    def previous(self, slot: int) -> NDArray[np.float32]:
        row: NDArray[np.float32] = self._before[slot].copy()
        return row

    def memory_of(self, slot: int) -> Mapping[str, Array]:
        """What the row attends to."""
        return self._memories[slot]

    def move(self, slot: int, source: int) -> None:
        self._states[slot] = self._states[source]
        self._before[slot] = np.nan
        self._memories[slot] = self._memories[source]

    def decode(self, num_rows: int, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        self._wait()
        self.windows.append((num_rows, len(inputs["forced"])))
        self.wanted.append(tuple(outputs))
        states, found = self._run(self._states[:num_rows], self._memories[:num_rows], inputs)
        self._before = self._states.copy()
        self._states[:num_rows] = states
        return [found[name] for name in outputs]

    def replay(self, state: NDArray[np.float32], inputs: Mapping[str, Array]) -> NDArray[np.float32]:
        assert not self._has_memory
        self._wait()
        self.num_replays += 1
        states, _ = self._run(state[None], [{}], inputs)
        row: NDArray[np.float32] = states[0]
        return row

    def _run(
        self, states: NDArray[np.float32], memories: Sequence[Mapping[str, Array]], inputs: Mapping[str, Array]
    ) -> tuple[NDArray[np.float32], dict[str, Array]]:
        """States after a window, and its outputs by name."""
        assert inputs.keys() <= self.input_names
        assert [str(inputs[name].dtype) for name in ("token", "forced")] == ["int64", "int64"]
        num_steps, num_rows = inputs["forced"].shape
        assert inputs["token"].shape == (num_rows,) == (len(states),)
        assert num_steps >= 1
        assert np.isfinite(states).all()
        lengths = [len(memory["memory"]) for memory in memories if memory]
        if self.fails_at is not None and self.fails_at in lengths:
            raise RunnerError("fake failure")
        found: dict[str, list[Array]] = {"tokens": [], "logits": [], "log_probability": [], "attention": []}
        token = inputs["token"]
        for step in range(num_steps):
            if not self._has_memory and self.fails_at is not None and (token == self.fails_at).any():
                raise RunnerError("fake failure")
            states = fake_next_state(states, token)
            chosen = self._chosen_with_memory if self._has_memory else self._chosen
            token = chosen(states, memories, token, inputs, step, found)
            token = np.where(inputs["forced"][step] >= 0, inputs["forced"][step], token)
            found["tokens"].append(token)
        return states, {name: np.stack(values) for name, values in found.items() if values}

    def _chosen(
        self,
        states: NDArray[np.float32],
        _: Sequence[Mapping[str, Array]],
        token: NDArray[np.int64],
        inputs: Mapping[str, Array],
        step: int,
        found: dict[str, list[Array]],
    ) -> NDArray[np.int64]:
        logits = fake_logits(states, self._vocab_size)
        if self.is_broken_at is not None:
            logits[token == self.is_broken_at] = np.nan
        if self._vocab_size <= NARROW:
            found["logits"].append(logits)
        of_step = {"uniforms", "can_end"}
        options = {
            name: array[step] if name in of_step else array
            for name, array in inputs.items()
            if name in self._chooser.input_names
        }
        return self._chooser.choose(logits, options)

    def _chosen_with_memory(
        self,
        states: NDArray[np.float32],
        memories: Sequence[Mapping[str, Array]],
        token: NDArray[np.int64],
        _: Mapping[str, Array],
        __: int,
        found: dict[str, list[Array]],
    ) -> NDArray[np.int64]:
        logits = fake_memory_logits(states, memories, self._vocab_size)
        is_broken = np.array([len(memory["memory"]) == self.is_broken_at for memory in memories])
        is_broken |= token == self.is_broken_after
        logits[is_broken] = np.nan
        candidates = top_candidates(logits, 1)
        found["log_probability"].append(candidates.log_probabilities[:, 0])
        found["attention"].append(attention_of(states, memories))
        return np.where(is_broken, NOT_FINITE, candidates.ids[:, 0])


class FakeBeamRunner(Fake):
    """`decode_beam`: as FakeAttentionStepRunner, all rows of several searches, ranked as the graph ranks them.

    Args:
        capacity: searches.
        beam_size: W.
        vocab_size: V.
        end_id: the end token's id.
    """

    input_names = frozenset({"token", "log_p", "steps"})

    def __init__(self, capacity: int, beam_size: int, vocab_size: int, end_id: int) -> None:
        super().__init__()
        self.capacity = capacity
        self._vocab_size = vocab_size
        self._end_id = end_id
        self._states = np.full((capacity, beam_size, STATE_WIDTH), np.nan, np.float32)
        self._memories: list[Mapping[str, Array]] = [{}] * capacity
        self.windows: list[tuple[int, int]] = []  # searches and steps of each call
        self.wanted: list[tuple[str, ...]] = []  # outputs of each call

    def put(self, slot: int, row: NDArray[np.float32], memory: Mapping[str, Array] | None = None) -> None:
        assert memory is not None
        self._states[slot] = row
        self._memories[slot] = memory

    def get(self, slot: int) -> NDArray[np.float32]:
        raise AssertionError("a slot holds several rows")

    previous = get

    def memory_of(self, slot: int) -> Mapping[str, Array]:
        """What the rows of a search attend to."""
        return self._memories[slot]

    def move(self, slot: int, source: int) -> None:
        self._states[slot] = self._states[source]
        self._memories[slot] = self._memories[source]

    def replay(self, state: NDArray[np.float32], inputs: Mapping[str, Array]) -> NDArray[np.float32]:
        raise AssertionError("searches are not replayed")

    def decode(self, num_rows: int, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        self._wait()
        assert inputs.keys() == self.input_names
        assert {name: str(array.dtype) for name, array in inputs.items()} == {
            "token": "int64",
            "log_p": "float64",
            "steps": "int64",
        }
        assert inputs["token"].shape == inputs["log_p"].shape == (num_rows, self._states.shape[1])
        memories = self._memories[:num_rows]
        lengths = [len(memory["memory"]) for memory in memories]
        if self.fails_at in lengths:
            raise RunnerError("fake failure")
        self.windows.append((num_rows, len(inputs["steps"])))
        self.wanted.append(tuple(outputs))
        states, token, log_p = self._states[:num_rows], inputs["token"], inputs["log_p"]
        steps = []
        for _ in inputs["steps"]:
            found = [
                self._step(states[i], token[i], log_p[i], memory, max(lengths)) for i, memory in enumerate(memories)
            ]
            token, log_p, states = (np.stack([each[name] for each in found]) for name in ("token", "log_p", "state"))
            steps.append({name: np.stack([each[name] for each in found]) for name in outputs})
        self._states[:num_rows] = states
        return [np.stack([step[name] for step in steps]) for name in outputs]

    def _step(
        self,
        states: NDArray[np.float32],
        token: NDArray[np.int64],
        log_p: NDArray[np.float64],
        memory: Mapping[str, Array],
        longest: int,
    ) -> dict[str, Array]:
        """One step of one search: its outputs, and what the next begins with."""
        beam_size = len(token)
        states = fake_next_state(states, token)
        logits = fake_memory_logits(states, [memory] * beam_size, self._vocab_size)
        is_broken = (token == self.is_broken_after) | (len(memory["memory"]) == self.is_broken_at)
        logits[is_broken] = np.nan
        candidates = top_candidates(logits, self._vocab_size)
        total = log_p[:, None] + candidates.log_probabilities
        total = np.where(np.isnan(total), -np.inf, total).ravel()
        order = np.argsort(-total, kind="stable")
        tokens = candidates.ids.ravel()[order]
        (going_on,) = np.nonzero(tokens != self._end_id)
        live = order[going_on[:beam_size]]
        ranked = order[: 2 * beam_size]
        attention = np.zeros((beam_size, -(-longest // 16) * 16), np.float32)
        own = attention_of(states, [memory] * beam_size)
        attention[:, : own.shape[1]] = own
        return {
            "parents": ranked // self._vocab_size,
            "tokens": tokens[: 2 * beam_size],
            "log_probability": total[ranked],
            "is_broken": is_broken,
            "attention": attention,
            "state": states[live // self._vocab_size],
            "token": candidates.ids.ravel()[live],
            "log_p": total[live],
        }


class Chooser:
    """The graph `choose`, and what chooses inside `decode`: the sampler, with uniform numbers from outside.

    Args:
        vocab_size: V.
        end_id: the end token's id, or None.
    """

    def __init__(self, vocab_size: int, end_id: int | None) -> None:
        self._sampler = Sampler(end_id)
        names = ["uniforms", "temperature", "min_p"]
        names += ["top_k", "top_p"] if vocab_size <= NARROW else []
        names += ["can_end"] if end_id is not None else []
        self.input_names = frozenset(names)

    def choose(self, logits: NDArray[np.float32], options: Mapping[str, Array]) -> NDArray[np.int64]:
        """The next tokens, int64 [n]; without filters where `options` has none."""
        filters = {"min_p", "top_k", "top_p"} & self.input_names
        assert options.keys() in (self.input_names, self.input_names - filters)
        assert {name: array.dtype.str[1:] for name, array in options.items()}.items() <= _DTYPES.items()
        rows = np.zeros(len(logits), ROW)
        rows["top_p"] = 1
        for name in options.keys() & {"temperature", *filters}:
            rows[name] = options[name]
        is_filtered = (rows["min_p"] > 0) | (rows["top_k"] > 0) | (rows["top_p"] < 1)
        rows["kind"] = np.where(rows["temperature"] == 0, GREEDY, np.where(is_filtered, FILTERED, PLAIN))
        rows["key"] = [_key_of(number) for number in options["uniforms"].tolist()]
        if "can_end" in options:
            rows["end_from"] = np.where(options["can_end"], 0, 1)  # all positions are 0
        return self._sampler.choose(np.ascontiguousarray(logits), rows)


_DTYPES = {"uniforms": "f8", "temperature": "f4", "min_p": "f4", "top_k": "i8", "top_p": "f8", "can_end": "b1"}


def _key_of(uniform: float) -> int:
    """The key that has this uniform number at position 0: models.decoding.uniforms backwards."""
    z = int(uniform * 2**53) << 11
    z ^= z >> 31 ^ z >> 62
    z = z * pow(0x94D049BB133111EB, -1, 1 << 64) & _MASK
    z ^= z >> 27 ^ z >> 54
    z = z * pow(0xBF58476D1CE4E5B9, -1, 1 << 64) & _MASK
    z ^= z >> 30 ^ z >> 60
    return z - 0x9E3779B97F4A7C15 & _MASK


def attention_of(states: NDArray[np.float32], memories: Sequence[Mapping[str, Array]]) -> NDArray[np.float32]:
    """Attention float32 [n, S], S the longest source's length rounded up."""
    lengths = [len(memory["memory"]) for memory in memories]
    attention = np.zeros((len(states), -(-max(lengths) // 16) * 16), np.float32)
    for i, (state, memory) in enumerate(zip(states, memories, strict=True)):
        attention[i, : lengths[i]] = fake_attention(state, memory)
    return attention


class FakeOpenSet:
    """An OpenSet of fakes, which are the same whenever they are asked for: for one lane.

    Args:
        vocab_size: V.
        end_id: the end token's id, or None.
        has_memory: whether it is a translator's.
        has_decoder: whether it has `decode` and, for generation, `choose`.
        has_beam_decoder: whether a translator's has `decode_beam`.
        capacity: slots until a lane asks for its number.

    Attributes:
        sequence_runner: runs the graphs that take sequences.
        step_runner: runs `step` of generation.
        beam_step_runner: the same for beam searches.
        attention_step_runner: runs `step` of translation.
        decode_runner: runs `decode`.
        runners: all of them.
    """

    max_length = None

    def __init__(
        self,
        vocab_size: int,
        end_id: int | None = None,
        *,
        has_memory: bool = False,
        has_decoder: bool = True,
        has_beam_decoder: bool = True,
        capacity: int = 64,
    ) -> None:
        self._has_decoder = has_decoder
        self._has_memory = has_memory
        self.beam_runners: dict[int, FakeBeamRunner] = {}  # by beam size
        if has_memory and has_beam_decoder and end_id is not None:
            self.beam_runners = {
                beam_size: FakeBeamRunner(capacity // beam_size, beam_size, vocab_size, end_id)
                for beam_size in range(2, 17)
            }
        self.sequence_runner = FakeSequenceRunner(vocab_size, end_id)
        self.step_runner = FakeStepRunner(2 * capacity, vocab_size)
        self.beam_step_runner = FakeStepRunner(2 * capacity, vocab_size)
        self.attention_step_runner = FakeAttentionStepRunner(2 * capacity, vocab_size)
        self.decode_runner = FakeDecodeRunner(capacity, vocab_size, end_id, has_memory=has_memory)
        self.runners: tuple[Fake, ...] = (
            self.sequence_runner,
            self.step_runner,
            self.beam_step_runner,
            self.attention_step_runner,
            self.decode_runner,
            *self.beam_runners.values(),
        )

    @property
    def graph_set(self) -> GraphSet:
        raise AssertionError("a fake has no files")

    def sequences(self) -> FakeSequenceRunner:
        return self.sequence_runner

    def steps(self, capacity: int) -> FakeStepRunner:
        self.step_runner.capacity = capacity
        return self.step_runner

    def attention_steps(self, capacity: int) -> FakeAttentionStepRunner:
        self.attention_step_runner.capacity = capacity
        return self.attention_step_runner

    def decoder(self, capacity: int) -> FakeDecodeRunner | None:
        assert capacity <= self.decode_runner.capacity
        return self.decode_runner if self._has_decoder else None

    def beam_decoder(self, capacity: int, beam_size: int) -> FakeBeamRunner | None:
        runner = self.beam_runners.get(beam_size)
        assert runner is None or capacity <= runner.capacity
        return runner

    def has(self, graph: str) -> bool:
        return self._has_decoder and graph in ({"decode"} if self._has_memory else {"decode", "choose"})

    def hold(self) -> None:
        """Let all calls from now on wait for `release`."""
        gate = threading.Event()
        for runner in self.runners:
            runner.gate = gate

    def release(self) -> None:
        """Let all calls go on."""
        for runner in self.runners:
            if runner.gate is not None:
                runner.gate.set()

    def break_at(self, value: int | None) -> None:
        """Numbers are not finite after this token, or for sources of this length."""
        for runner in self.runners:
            runner.is_broken_at = value

    def fail_at(self, value: int | None) -> None:
        """Calls with this token, or with a source of this length, fail."""
        for runner in self.runners:
            runner.fails_at = value

    def slow_down(self, seconds: float) -> None:
        """Let every call take so long at least."""
        for runner in self.runners:
            runner.seconds = seconds
