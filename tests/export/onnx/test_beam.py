"""Windows of `decode_beam`, followed by BeamSearch, against BeamSearch driven step by step."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from export.onnx.beam import beam_decode
from export.onnx.graph import OnnxGraph
from models.decoding.beam_search import BeamSearch, Hypothesis
from models.decoding.candidates import Candidates, likeliest
from models.decoding.options import TranslationOptions

Floats = NDArray[np.float32]

END = 0
NUM_STATES = 16  # positions of the memory: each holds the logits of a state
LEAST = np.float32(-3e38)  # of the memory's numbers: -infinity as a logit, for 0 x -infinity is NaN
BROKEN = np.float32(3e38)  # +infinity as a logit
OUTPUTS = ["parents", "tokens", "log_probability", "is_broken", "attention", "new_state"]
VOCABULARIES = [1, 2, 3, 5, 12, 66, 130, 131]  # of one token, of two blocks, of blocks that are not full


def table_step(vocab_size: int, *, is_shared: bool = True) -> onnx.ModelProto:
    """A translator's step whose memory holds the logits of each state, and whose keys say which state is which.

    Args:
        vocab_size: V, also the memory's width.
        is_shared: whether the memory is read by MatMul alone; else a part of the answer comes by another way.
    """
    graph = OnnxGraph("step")
    token = graph.input("token", np.int64, ["batch"])
    state = graph.input("state", np.float32, ["batch", 1])
    memory = graph.input("memory", np.float32, ["batch", "source", vocab_size])
    keys = graph.input("keys", np.float32, ["batch", "source", NUM_STATES])
    graph.input("lengths", np.int32, ["batch"])
    one = graph.constant(np.array([1], np.int64))
    column = graph.node("Cast", graph.node("Unsqueeze", token, one), to=onnx.TensorProto.FLOAT)
    mixed = graph.node("Add", graph.node("Mul", state, graph.constant(np.float32(5))), column)
    mixed = graph.node("Mod", mixed, graph.constant(np.float32(NUM_STATES)), fmod=1)
    numbers = graph.constant(np.arange(NUM_STATES, dtype=np.float32)[None])
    query = graph.node("Cast", graph.node("Equal", mixed, numbers), to=onnx.TensorProto.FLOAT)
    query = graph.node("Unsqueeze", query, one)
    weights = graph.node("MatMul", query, graph.node("Transpose", keys, perm=[0, 2, 1]))
    logits = graph.node("Squeeze", graph.node("MatMul", weights, memory), one)
    if not is_shared:
        # MatMul's number again, by a sum of one position and zeros along the source.
        logits = graph.node("ReduceMax", graph.node("Where", _is_one(graph, weights), memory, _least(graph)), one)
        logits = graph.node("Squeeze", logits, one)
    is_low = graph.node("LessOrEqual", logits, graph.constant(LEAST))
    logits = graph.node("Where", is_low, graph.constant(np.float32(-np.inf)), logits)
    is_high = graph.node("GreaterOrEqual", logits, graph.constant(BROKEN))
    logits = graph.node("Where", is_high, graph.constant(np.float32(np.inf)), logits)
    graph.output(logits, "logits", np.float32, ["batch", vocab_size])
    graph.output(mixed, "new_state", np.float32, ["batch", 1])
    graph.output(graph.node("Squeeze", weights, one), "attention", np.float32, ["batch", "source"])
    return graph.model()


def _is_one(graph: OnnxGraph, weights: str) -> str:
    """Of weights [B, 1, S]: [B, S, 1]."""
    weights = graph.node("Transpose", weights, perm=[0, 2, 1])
    return graph.node("Greater", weights, graph.constant(np.float32(0.5)))


def _least(graph: OnnxGraph) -> str:
    return graph.constant(LEAST)


def opened(model: onnx.ModelProto) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@cache
def sessions(vocab_size: int, *, is_shared: bool = True) -> tuple[Any, Any]:
    """Of the step with log probabilities for logits, as the loop makes them, and of `decode_beam`."""
    step = table_step(vocab_size, is_shared=is_shared)
    beam = beam_decode(step, END)
    for node in step.graph.node:
        if node.output[0] == "logits":
            node.op_type = "LogSoftmax"
            node.attribute.append(onnx.helper.make_attribute("axis", 1))
    return opened(step), opened(beam)


class Case(NamedTuple):
    """A source, and what is asked of it.

    Attributes:
        memory: float32 [NUM_STATES, V]. keys: float32 [NUM_STATES, NUM_STATES].
        options: of the search.
    """

    memory: Floats
    keys: Floats
    options: TranslationOptions


def case_of(seed: int, vocab_size: int, options: TranslationOptions, *, is_broken: bool) -> Case:
    """A source of random logits: with ties, tokens that are excluded, and an end token that is likely or not."""
    generator = np.random.default_rng(seed)
    memory = generator.standard_normal((NUM_STATES, vocab_size)).astype(np.float32)
    if generator.random() < 0.6:
        memory = (np.round(memory * generator.choice([1, 4])) / 2).astype(np.float32)
    memory[generator.random(memory.shape) < generator.choice([0, 0.2, 0.9])] = LEAST
    memory[:, END] = generator.choice([-4, 0, 2]) + generator.integers(0, 2, NUM_STATES)
    if is_broken:
        memory[generator.integers(1, NUM_STATES), -1] = generator.choice([np.nan, float(BROKEN)])
    keys = np.eye(NUM_STATES, dtype=np.float32)[generator.permutation(NUM_STATES)]
    return Case(memory, keys, options)


def search_of(case: Case) -> BeamSearch:
    return BeamSearch(case.options, end_id=END, source_length=NUM_STATES)


def step_by_step(case: Case, session: Any) -> list[Hypothesis] | None:
    """What BeamSearch finds; None where a live row's numbers are not finite."""
    search = search_of(case)
    state = np.zeros((1, 1), np.float32)
    while not search.is_over:
        num_rows = len(search.live)
        inputs = {
            "token": search.tokens,
            "state": state,
            "memory": np.repeat(case.memory[None], num_rows, axis=0),
            "keys": np.repeat(case.keys[None], num_rows, axis=0),
            "lengths": np.full(num_rows, NUM_STATES, np.int32),
        }
        inputs = {item.name: inputs[item.name] for item in session.get_inputs()}
        log_p, attention, state = session.run(["logits", "attention", "new_state"], inputs)
        if np.isnan(log_p).any():
            return None
        candidates = Candidates(*likeliest(log_p, min(search.num_candidates, log_p.shape[1])))
        state = state[search.extend(candidates, attention)]
    return search.results()


def in_windows(cases: list[Case], session: Any, lengths: list[int]) -> list[list[Hypothesis] | None]:
    """The same of several sources together, by windows of these lengths again and again."""
    beam_size = cases[0].options.beam_size
    searches = [search_of(case) for case in cases]
    broken: set[int] = set()
    state = np.zeros((len(cases), beam_size, 1), np.float32)
    fixed = {
        "memory": np.stack([case.memory for case in cases]),
        "keys": np.stack([case.keys for case in cases]),
        "lengths": np.full(len(cases), NUM_STATES, np.int32),
    }
    number = 0
    while any(not search.is_over and i not in broken for i, search in enumerate(searches)):
        num_steps = lengths[number % len(lengths)]
        number += 1
        token, log_p = np.zeros((len(cases), beam_size), np.int64), np.full((len(cases), beam_size), -np.inf)
        for i, search in enumerate(searches):
            for row, (next_token, total) in enumerate(search.live):
                token[i, row], log_p[i, row] = next_token, total
        inputs = {"token": token, "state": state, "log_p": log_p, "steps": np.zeros(num_steps, np.int64), **fixed}
        inputs = {item.name: inputs[item.name] for item in session.get_inputs()}
        parents, tokens, totals, is_broken, attention, state = session.run(OUTPUTS, inputs)
        assert not np.isnan(totals).any()
        for i, search in enumerate(searches):
            for step in range(num_steps):
                if search.is_over or i in broken:
                    break
                if is_broken[step, i, : len(search.live)].any():
                    broken.add(i)
                    break
                ranked = [array[step, i].tolist() for array in (parents, tokens, totals)]
                search.follow(ranked[0], ranked[1], ranked[2], attention[step, i])
    return [None if i in broken else search.results() for i, search in enumerate(searches)]


def as_bytes(results: list[Hypothesis] | None) -> list[Any] | None:
    if results is None:
        return None
    return [(it.ids, it.score, it.finish_reason, it.attention.tobytes()) for it in results]


@st.composite
def options_of_a_beam(draw: st.DrawFn, beam_size: int) -> TranslationOptions:
    return TranslationOptions(
        beam_size=beam_size,
        length_penalty=draw(st.sampled_from([0.0, 0.3, 1.0, 5.0])),
        coverage_penalty=draw(st.sampled_from([0.0, 0.0, 0.4])),
        alternatives=draw(st.integers(0, beam_size - 1)),
        max_tokens=draw(st.integers(1, 14)),
    )


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_windows_that_are_followed_find_what_a_search_finds_step_by_step(data: st.DataObject) -> None:
    vocab_size = data.draw(st.sampled_from(VOCABULARIES))
    beam_size = data.draw(st.sampled_from([2, 3, 4, 5, 16]))
    step, beam = sessions(vocab_size, is_shared=data.draw(st.booleans()))
    cases = [
        case_of(
            data.draw(st.integers(0, 2**32)),
            vocab_size,
            data.draw(options_of_a_beam(beam_size)),
            is_broken=data.draw(st.integers(0, 3)) == 0,
        )
        for _ in range(data.draw(st.integers(1, 3)))
    ]
    expected = [as_bytes(step_by_step(case, step)) for case in cases]
    lengths = data.draw(st.sampled_from([[1], [2], [3], [8], [4, 1, 8, 2]]))
    assert [as_bytes(found) for found in in_windows(cases, beam, lengths)] == expected


@pytest.mark.parametrize("vocab_size", [2, 12, 66, 131])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_marked_wherever_the_number_stands(vocab_size: int, value: float) -> None:
    session = sessions(vocab_size)[1]
    options = TranslationOptions(beam_size=2)
    for place in range(vocab_size):
        case = case_of(place, vocab_size, options, is_broken=False)
        if value == -np.inf:
            case.memory[0] = LEAST
        else:
            case.memory[0, place] = BROKEN if value == np.inf else value
        inputs = {
            "token": np.zeros((1, 2), np.int64),
            "state": np.array([[[0], [1]]], np.float32),  # states 0 and 5
            "memory": case.memory[None],
            "keys": np.eye(NUM_STATES, dtype=np.float32)[None],
            "log_p": np.zeros((1, 2)),
            "steps": np.zeros(1, np.int64),
        }
        names = {item.name for item in session.get_inputs()}
        if "lengths" in names:
            inputs["lengths"] = np.full(1, NUM_STATES, np.int32)
        expected = [True, bool(np.isnan(case.memory).any())]  # 0 x NaN: both rows
        parents, _, totals, is_broken, *_ = session.run(OUTPUTS, inputs)
        assert is_broken[0, 0].tolist() == expected
        assert not np.isnan(totals).any()
        assert set(parents[totals > -np.inf].tolist()) <= ({1} if expected == [True, False] else set())


def test_memories_that_are_only_multiplied_are_not_repeated_for_each_row() -> None:
    repeated = {"Expand"}
    operators = {
        is_shared: _operators(beam_decode(table_step(12, is_shared=is_shared), END)) for is_shared in (True, False)
    }
    assert not repeated & operators[True]
    assert repeated <= operators[False]


def _operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}
