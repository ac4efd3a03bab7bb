import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.decoding.beam_search import BeamSearch, Hypothesis, max_tokens_of, score_of
from models.decoding.options import TranslationOptions
from tests.models.decoding import plain_beam_search as plain
from tests.models.decoding.plain_beam_search import END, Found, Model

PENALTIES = st.sampled_from([0.0, 0.5, 1.0, 2.5, 5.0])
WIDE = [(2, 1), (2, 2), (2, 9), (3, 1), (3, 2), (3, 3), (3, 4), (4, 2), (5, 2), (17, 1)]  # vocabulary, max_tokens


def random_model(vocab_size: int, source_length: int, seed: int, scale: float = 2.0) -> Model:
    """Logits and attention that are drawn anew for every prefix."""

    def model(prefix: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        digest = hashlib.sha256(f"{seed} {prefix}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8]))
        logits = (rng.standard_normal(vocab_size) * scale).astype(np.float32)
        weights = rng.random(source_length) ** 3
        return logits, (weights / weights.sum()).astype(np.float32)

    return model


def searched(model: Model, options: TranslationOptions, source_length: int) -> tuple[list[Hypothesis], list[int]]:
    """Run a search to its end, prefixes followed by its parents; the results and the rows of each step."""
    search = BeamSearch(options, end_id=END, source_length=source_length)
    assert search.tokens.tolist() == [END]
    prefixes: list[tuple[int, ...]] = [()]
    num_rows = []
    while not search.is_over:
        num_rows.append(len(prefixes))
        rows = [model(prefix) for prefix in prefixes]
        attention = np.zeros((len(rows), source_length + 3), np.float32)
        attention[:, :source_length] = [row[1] for row in rows]
        parents = search.advance(np.stack([row[0] for row in rows]), attention)
        prefixes = [(*prefixes[p], t) for p, t in zip(parents.tolist(), search.tokens.tolist(), strict=True)]
        assert len(prefixes) <= options.beam_size
    for hypothesis in search.results():
        tokens = tokens_of(hypothesis)
        assert END not in hypothesis.ids
        assert hypothesis.score == pytest.approx(plain.score(model, tokens, options), rel=1e-12)
        assert np.array_equal(hypothesis.attention, [model(tokens[:i])[1] for i in range(len(tokens))])
    return search.results(), num_rows


def tokens_of(hypothesis: Hypothesis) -> tuple[int, ...]:
    return (*hypothesis.ids, END) if hypothesis.finish_reason == "stop" else tuple(hypothesis.ids)


def same(results: list[Hypothesis], expected: list[Found]) -> None:
    assert [it.score for it in results] == pytest.approx([it.score for it in expected], rel=1e-12)
    assert [tokens_of(it) for it in results] == [it.tokens for it in expected]


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(WIDE), PENALTIES, PENALTIES, st.integers(0, 15), st.integers(0, 10**6), st.data())
def test_a_beam_that_holds_every_live_prefix_finds_the_best_of_all_sequences(
    sizes: tuple[int, int],
    length_penalty: float,
    coverage_penalty: float,
    alternatives: int,
    seed: int,
    data: st.DataObject,
) -> None:
    vocab_size, max_tokens = sizes
    width = max(2, (vocab_size - 1) ** max_tokens)  # of all lengths the last has the most
    assert width <= 16
    beam_size = data.draw(st.integers(width, 16))
    options = TranslationOptions(
        beam_size=beam_size,
        length_penalty=length_penalty,
        coverage_penalty=coverage_penalty,
        alternatives=min(alternatives, beam_size - 1),
        max_tokens=max_tokens,
    )
    model = random_model(vocab_size, 3, seed)
    results, _ = searched(model, options, 3)
    same(results, plain.of_everything(model, vocab_size, max_tokens, options))


@settings(max_examples=250, deadline=None)
@given(
    st.integers(2, 16),
    st.integers(2, 30),
    st.integers(1, 12),
    PENALTIES,
    PENALTIES,
    st.integers(0, 15),
    st.integers(0, 10**6),
)
def test_a_narrow_beam_is_the_plain_one(
    beam_size: int, vocab_size: int, max_tokens: int, a: float, b: float, alternatives: int, seed: int
) -> None:
    options = TranslationOptions(
        beam_size=beam_size,
        length_penalty=a,
        coverage_penalty=b,
        alternatives=min(alternatives, beam_size - 1),
        max_tokens=max_tokens,
    )
    model = random_model(vocab_size, 4, seed, scale=1 + seed % 4)
    results, _ = searched(model, options, 4)
    same(results, plain.with_a_beam(model, max_tokens, options))
    assert len({tuple(it.ids) for it in results}) == len(results)
    assert [it.score for it in results] == sorted((it.score for it in results), reverse=True)


@given(st.integers(2, 200), st.integers(1, 20), PENALTIES, PENALTIES, st.integers(0, 10**6))
@settings(deadline=None)
def test_a_beam_of_one_is_greedy(vocab_size: int, max_tokens: int, a: float, b: float, seed: int) -> None:
    options = TranslationOptions(beam_size=1, length_penalty=a, coverage_penalty=b, max_tokens=max_tokens)
    model = random_model(vocab_size, 4, seed)
    (result,), num_rows = searched(model, options, 4)
    assert tokens_of(result) == plain.greedy(model, max_tokens)
    assert num_rows == [1] * len(tokens_of(result))


def constant_model(*logits: float) -> Model:
    row = np.array(logits, np.float32)
    return lambda _: (row, np.array([1.0, 0.0], np.float32))


def test_of_equal_continuations_the_lower_row_then_the_lower_id_goes_on() -> None:
    options = TranslationOptions(beam_size=3, max_tokens=2, alternatives=2)
    results, _ = searched(constant_model(-9, 0, 0, 0, 0), options, 2)
    assert [it.ids for it in results] == [[1, 1], [1, 2], [1, 3]]


def test_a_search_goes_on_while_a_longer_translation_may_score_better() -> None:
    def model(prefix: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        # The end is likelier at first; after one token the others are certain.
        logits = [0.5, 0.0] if not prefix else [-20.0, 20.0] if len(prefix) < 9 else [20.0, -20.0]
        return np.array(logits, np.float32), np.ones(1, np.float32)

    for a, expected in ((0.0, []), (2.0, [1] * 9)):
        results, num_rows = searched(model, TranslationOptions(length_penalty=a, max_tokens=30), 1)
        assert results[0].ids == expected
        assert len(num_rows) == (1 if a == 0 else 10)


def test_a_search_ends_as_soon_as_nothing_can_change_its_results() -> None:
    results, num_rows = searched(constant_model(8, 0, 0), TranslationOptions(length_penalty=0, max_tokens=1000), 2)
    assert (results[0].ids, num_rows) == ([], [1])
    options = TranslationOptions(length_penalty=0, max_tokens=1000, alternatives=3)
    assert len(searched(constant_model(8, 0, 0), options, 2)[1]) == 3


def test_excluded_tokens_are_never_chosen_and_do_not_live_on() -> None:
    model = constant_model(0, -np.inf, 0, -np.inf)
    options = TranslationOptions(beam_size=4, alternatives=3, max_tokens=3)
    results, num_rows = searched(model, options, 2)
    assert num_rows == [1, 1, 1]
    assert sorted(tuple(it.ids) for it in results) == [(), (2,), (2, 2), (2, 2, 2)]


def test_a_source_position_that_nothing_attends_to_leaves_the_score_finite() -> None:
    options = TranslationOptions(coverage_penalty=1.0, max_tokens=2)
    results, _ = searched(constant_model(1, 0), options, 2)
    assert np.isfinite(results[0].score)
    assert results[0].score < -60


def test_without_attention_kept_the_results_are_the_same_but_for_it() -> None:
    model = random_model(9, 3, 4)
    options = TranslationOptions(coverage_penalty=0.7, max_tokens=6)
    search = BeamSearch(options, end_id=END, source_length=3, keep_attention=False)
    prefixes: list[tuple[int, ...]] = [()]
    while not search.is_over:
        rows = [model(prefix) for prefix in prefixes]
        parents = search.advance(np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows]))
        prefixes = [(*prefixes[p], t) for p, t in zip(parents.tolist(), search.tokens.tolist(), strict=True)]
    (result,), (with_it,) = search.results(), searched(model, options, 3)[0]
    assert result[:3] == with_it[:3]
    assert result.attention.shape == (0, 3)


def test_the_score_is_the_papers_equation_14() -> None:
    options = TranslationOptions(length_penalty=0.7, coverage_penalty=0.3)
    expected = -4.2 / ((5 + 9) ** 0.7 / 6**0.7) + 0.3 * (np.log(0.25) + np.log(0.5))
    assert score_of(-4.2, 9, options, np.array([0.25, 1.5, 0.5, 1.0])) == pytest.approx(expected, rel=1e-12)
    assert score_of(-4.2, 1, TranslationOptions()) == -4.2


def test_by_default_a_translation_may_be_as_long_as_those_that_the_model_was_trained_on() -> None:
    assert max_tokens_of(TranslationOptions(), 7) == 128
    assert max_tokens_of(TranslationOptions(), 300) == 1024
    assert max_tokens_of(TranslationOptions(), 1024) == 2068
    assert max_tokens_of(TranslationOptions(), 7, longest=60) == 60
    assert max_tokens_of(TranslationOptions(), 30, longest=60) == 80
    assert max_tokens_of(TranslationOptions(max_tokens=5), 7, longest=60) == 5


def test_a_search_ends_at_the_usual_length_unless_nothing_has_ended_by_then() -> None:
    """So room for long translations costs short ones nothing, and what needs it is not cut."""
    options = TranslationOptions(beam_size=2)
    attention = np.full((2, 3), 1 / 3, np.float32)
    early = np.array([[2.0, 3.0, 1.0, 0.0]] * 2, np.float32)  # END is always the second
    late = np.array([[-9.0, 3.0, 2.0, 1.0]] * 2, np.float32)
    for logits, ends, length in ((early, "stop", 26), (late, "length", 112)):
        search = BeamSearch(options, end_id=END, source_length=3)
        while not search.is_over:
            num_rows = len(search.tokens)
            search.advance(logits[:num_rows], attention[:num_rows])
        assert search.num_tokens <= length
        assert search.results()[0].finish_reason == ends
    assert search.num_tokens == 112


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"beam_size": 0}, "greater"),
        ({"beam_size": 17}, "16"),
        ({"beam_size": 3, "alternatives": 3}, "beam_size - 1, which is 2"),
        ({"length_penalty": 5.1}, "5"),
        ({"coverage_penalty": -0.1}, "0"),
        ({"max_tokens": 1025}, "1024"),
        ({"alignment": 1}, "boolean"),
    ],
)
def test_options_say_what_is_allowed(fields: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        TranslationOptions.model_validate(fields)
