"""The choice of the next token as nodes, against the sampler that defines it."""

from functools import cache
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from export.onnx.decode import choose_graph
from models.decoding.inverse_cdf import NARROW
from models.decoding.options import GenerationOptions
from models.decoding.sampler import NOT_FINITE, Sampler, sampling_row
from models.decoding.uniforms import uniforms

WIDTHS = [5, 66, NARROW, NARROW + 1, 1000]  # two of one level, of which one is the widest; two of two levels
LARGEST = 1 - 2.0**-53  # the largest uniform number
Logits = NDArray[np.float32]


@cache
def session(vocab_size: int, end_id: int | None = None) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    content = choose_graph(vocab_size, end_id).SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def choose(logits: Logits, end_id: int | None = None, **options: Any) -> NDArray[np.int64]:
    """Tokens of the rows; an option is a number for all rows or an array of one for each."""
    values = {"uniforms": 0.5, "temperature": 1, "min_p": 0, "top_k": 0, "top_p": 1, "can_end": True} | options
    opened = session(logits.shape[1], end_id)
    dtypes = {"tensor(double)": np.float64, "tensor(float)": np.float32, "tensor(int64)": np.int64}
    inputs = {
        item.name: np.ascontiguousarray(
            np.broadcast_to(values[item.name], len(logits)), dtypes.get(item.type, np.bool_)
        )
        for item in opened.get_inputs()
        if item.name != "logits"
    }
    tokens: NDArray[np.int64] = opened.run(["tokens"], {"logits": logits, **inputs})[0]
    return tokens


def random_logits(rows: int, vocab_size: int, seed: int = 0) -> Logits:
    return (3 * np.random.default_rng(seed).standard_normal((rows, vocab_size))).astype(np.float32)


@pytest.mark.parametrize("vocab_size", WIDTHS)
@pytest.mark.parametrize(
    "options",
    [
        GenerationOptions(),
        GenerationOptions(temperature=0),
        GenerationOptions(temperature=0.7, min_tokens=5),
        GenerationOptions(temperature=1.5, min_p=0.05),
        GenerationOptions(top_k=4),
        GenerationOptions(top_p=0.7),
        GenerationOptions(temperature=0.9, top_k=20, top_p=0.9, min_p=0.02),
        GenerationOptions(min_tokens=5, top_k=1),
    ],
)
def test_tokens_are_those_of_the_sampler(vocab_size: int, options: GenerationOptions) -> None:
    if vocab_size > NARROW:
        options = options.model_copy(update={"top_k": 0, "top_p": 1.0})
    logits, end_id = random_logits(200, vocab_size), 3
    rows = np.concatenate([sampling_row(options, seed=seed, choice=0, position=7) for seed in range(len(logits))])
    expected = Sampler(end_id).choose(logits, rows)
    columns = {name: rows[name] for name in ("temperature", "min_p", "top_k", "top_p")}
    (numbers,) = uniforms(rows["key"], rows["position"])
    can_end = rows["position"] >= rows["end_from"]
    assert choose(logits, end_id, uniforms=numbers, can_end=can_end, **columns).tolist() == expected.tolist()


@pytest.mark.parametrize("vocab_size", [5, 66, 300])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0, 0.8])
def test_a_row_that_is_not_finite_is_shown_wherever_it_stands(
    vocab_size: int, value: float, temperature: float
) -> None:
    """At every position, alone and among others, with filters and without; healthy rows keep their tokens."""
    healthy = random_logits(2 * vocab_size, vocab_size)
    broken = healthy.copy()
    which = np.arange(vocab_size)
    broken[2 * which, which] = value
    every: list[dict[str, Any]] = [{}, {"min_p": 0.1}, {"top_k": 3, "top_p": 0.5}]
    for filters in every:
        found = choose(broken, temperature=temperature, **filters)
        assert (found[::2] == NOT_FINITE).all()
        assert (found[1::2] == choose(healthy, temperature=temperature, **filters)[1::2]).all()
    for row in which[:70]:
        assert choose(broken[2 * row : 2 * row + 1], temperature=temperature) == [NOT_FINITE]


@pytest.mark.parametrize("vocab_size", WIDTHS)
@pytest.mark.parametrize("temperature", [0, 1])
def test_a_row_of_minus_infinity_alone_is_not_finite(vocab_size: int, temperature: float) -> None:
    logits = np.full((2, vocab_size), -np.inf, np.float32)
    logits[1, vocab_size - 1] = -1e30
    assert choose(logits, temperature=temperature).tolist() == [NOT_FINITE, vocab_size - 1]


@pytest.mark.parametrize("vocab_size", WIDTHS)
@pytest.mark.parametrize("number", [0.0, 0.5, LARGEST])
def test_banned_tokens_are_never_chosen(vocab_size: int, number: float) -> None:
    """Of a wide vocabulary the largest uniform number would find nothing inside its block, but for the guard."""
    logits = random_logits(64, vocab_size)
    logits[:, ::2] = -np.inf
    tokens = choose(logits, uniforms=number)
    assert np.isfinite(logits[np.arange(64), tokens]).all()
    allowed = range(1, vocab_size, 2)
    assert number == 0.5 or set(tokens.tolist()) == {allowed[0] if number == 0 else allowed[-1]}


@pytest.mark.parametrize("vocab_size", WIDTHS)
def test_temperature_0_takes_the_lowest_of_equally_likely_tokens(vocab_size: int) -> None:
    generator = np.random.default_rng(0)
    logits = generator.integers(-3, 1, size=(64, vocab_size)).astype(np.float32)
    assert choose(logits, temperature=0, uniforms=LARGEST).tolist() == logits.argmax(axis=1).tolist()
    near = np.zeros((1, vocab_size), np.float32)
    near[0, 2] = 1e-30  # more than the others by far less than a step of float32 at 1
    assert choose(near, temperature=0) == [2]


@pytest.mark.parametrize("vocab_size", WIDTHS)
@pytest.mark.parametrize("end_id", [0, 4])
def test_the_end_token_is_banned_in_rows_that_may_not_end(vocab_size: int, end_id: int) -> None:
    logits = random_logits(40, vocab_size)
    logits[:, end_id] = 50
    can_end = np.arange(40) % 2 == 0
    tokens = choose(logits, end_id, can_end=can_end)
    banned = logits.copy()
    banned[:, end_id] = -np.inf
    assert (tokens[::2] == end_id).all()
    assert (tokens[1::2] == choose(banned)[1::2]).all()
    filtered = choose(logits, end_id, can_end=False, top_k=1, top_p=0.1)  # a banned token takes no rank
    assert (filtered == choose(banned, top_k=1, top_p=0.1)).all()
    assert (filtered >= 0).all()


@pytest.mark.parametrize("vocab_size", [5, 66, 300])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_rows_are_given_what_they_are_given_alone(vocab_size: int, data: st.DataObject) -> None:
    num_rows = data.draw(st.integers(2, 40))
    logits = random_logits(num_rows, vocab_size, seed=data.draw(st.integers(0, 99)))
    generator = np.random.default_rng(data.draw(st.integers(0, 99)))
    options: dict[str, Any] = {
        "uniforms": generator.random(num_rows),
        "temperature": generator.choice([0, 0.5, 1, 2], num_rows),
        "min_p": generator.choice([0, 0, 0.05, 1], num_rows),
        "top_k": generator.choice([0, 0, 1, 7, 2**62], num_rows),
        "top_p": generator.choice([1, 1, 0.3, 1e-9], num_rows),
    }
    together = choose(logits, **options)
    for row in range(num_rows):
        assert choose(logits[row : row + 1], **{k: v[row] for k, v in options.items()}) == together[row : row + 1]


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-20, 20, width=32), min_size=9, max_size=9),
    temperature=st.floats(0.125, 4, width=32),
    top_k=st.integers(0, 10),
    top_p=st.sampled_from([0.1, 0.3, 0.6, 0.95, 1.0]),
)
def test_rising_uniform_numbers_give_rising_ids_of_the_tokens_that_the_filters_keep(
    values: list[float], temperature: float, top_k: int, top_p: float
) -> None:
    logits = np.array([values], np.float32).repeat(202, axis=0)
    numbers = np.append(np.arange(201) / 201, LARGEST)
    tokens = choose(logits, uniforms=numbers, temperature=temperature, top_k=top_k, top_p=top_p)
    assert (np.diff(tokens) >= 0).all()
    order = np.argsort(-logits[0], kind="stable")[: top_k or None]
    weights = np.exp((logits[0, order].astype(np.float64) - logits[0].max()) / temperature)
    mass_before = np.concatenate([[0], np.cumsum(weights)[:-1]]) / weights.sum()
    assert set(tokens.tolist()) <= set(order[(mass_before < top_p + 1e-6)].tolist())
    certain = order[(mass_before < top_p - 1e-6) & (weights > 0.02 * weights.sum())]
    assert set(tokens.tolist()) >= set(certain.tolist())
