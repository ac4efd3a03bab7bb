import numpy as np
import pytest
from numpy.typing import NDArray

from models.decoding.options import GenerationOptions
from models.decoding.sampler import NOT_FINITE, Sampler, sampling_row
from models.decoding.uniforms import uniforms
from tests.models.decoding import plain_sampler

OPTIONS = [
    GenerationOptions(),
    GenerationOptions(temperature=0),
    GenerationOptions(temperature=0.7, top_k=5),
    GenerationOptions(top_p=0.9),
    GenerationOptions(temperature=1.3, top_p=0.5),
    GenerationOptions(min_p=0.1),
    GenerationOptions(temperature=2, top_k=40, top_p=0.8, min_p=0.02),
    GenerationOptions(top_k=1),
    GenerationOptions(temperature=1e-40),
    GenerationOptions(top_p=1e-9),
    GenerationOptions(min_p=1),
    GenerationOptions(top_k=10**30),
]


def rows_of(options: list[GenerationOptions], position: int = 0) -> NDArray[np.void]:
    return np.concatenate(
        [sampling_row(item, seed=i, choice=i % 3, position=position) for i, item in enumerate(options)]
    )


def random_logits(num_rows: int, width: int, scale: float = 3, seed: int = 0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal((num_rows, width)) * scale).astype(np.float32)


@pytest.mark.parametrize("width", [1, 2, 63, 64, 65, 100, 700])
def test_agrees_with_the_plain_definition_row_by_row(width: int) -> None:
    options = OPTIONS * 20
    logits = random_logits(len(options), width)
    rows = rows_of(options)
    chosen = Sampler(None).choose(logits, rows)
    (uniform,) = uniforms(rows["key"], rows["position"])
    for i, item in enumerate(options):
        expected = plain_sampler.choose(logits[i].tolist(), item, uniform[i])
        chances = plain_sampler.probabilities(logits[i].tolist(), item)
        # float32 may fall on the other side of a boundary between two tokens: then the token is possible all the same
        assert chosen[i] == expected or (chances[chosen[i]] > 0 and width > 1), (i, item)
    same = [chosen[i] == plain_sampler.choose(logits[i].tolist(), item, uniform[i]) for i, item in enumerate(options)]
    assert np.mean(same) > 0.99


@pytest.mark.parametrize("width", [65, 600, 2000])
def test_a_row_is_chosen_alike_alone_and_among_any_others(width: int) -> None:
    options = [OPTIONS[i % len(OPTIONS)] for i in range(64)]
    logits = random_logits(64, width, scale=1.5)
    logits[::5] = np.round(logits[::5])  # ties
    rows = rows_of(options)
    sampler = Sampler(0)
    together = sampler.choose(logits, rows.copy())
    alone = [sampler.choose(logits[i : i + 1], rows[i : i + 1].copy())[0] for i in range(64)]
    assert together.tolist() == alone
    rng = np.random.default_rng(1)
    for _ in range(20):
        some = rng.permutation(64)[: rng.integers(1, 64)]
        assert (sampler.choose(np.ascontiguousarray(logits[some]), rows[some]) == together[some]).all()


@pytest.mark.parametrize("width", [50, 513])
@pytest.mark.parametrize("options", OPTIONS[2:7])
def test_many_draws_follow_the_distribution(options: GenerationOptions, width: int) -> None:
    logits = random_logits(1, width, scale=2, seed=5)
    draws = 4000
    row = sampling_row(options, seed=7, choice=0, position=0)
    rows = np.repeat(row, draws)
    rows["position"] = np.arange(draws)
    chosen = Sampler(None).choose(np.repeat(logits, draws, axis=0), rows)
    expected = np.array(plain_sampler.probabilities(logits[0].tolist(), options))
    found = np.bincount(chosen, minlength=width) / draws
    assert (found[expected == 0] == 0).all()
    assert np.abs(found - expected).max() < 5 * np.sqrt(0.25 / draws)
    kept = expected > 0.002
    chi = (((found - expected) ** 2) / np.maximum(expected, 1e-12))[kept].sum() * draws
    assert chi < 3 * kept.sum() + 30


def test_of_equally_likely_tokens_the_lower_id_wins() -> None:
    logits = np.zeros((3, 70), np.float32)
    options = [GenerationOptions(temperature=0), GenerationOptions(top_k=1), GenerationOptions(top_p=1e-6)]
    assert Sampler(None).choose(logits, rows_of(options)).tolist() == [0, 0, 0]
    many = rows_of([GenerationOptions(top_k=3)] * 200)
    assert set(Sampler(None).choose(np.zeros((200, 70), np.float32), many).tolist()) == {0, 1, 2}


def test_a_nucleus_wider_than_the_head_is_found_in_the_whole_vocabulary() -> None:
    logits = np.zeros((500, 3000), np.float32)
    chosen = Sampler(None).choose(logits, rows_of([GenerationOptions(top_p=0.5)] * 500))
    assert chosen.max() < 1500
    assert chosen.max() > 1200


def test_end_token_is_never_chosen_before_min_tokens() -> None:
    logits = np.zeros((2, 5), np.float32)
    logits[:, 3] = 50
    options = [GenerationOptions(temperature=0, min_tokens=2), GenerationOptions(min_tokens=2)]
    for chosen_options in (options, options[:1] * 2, options[1:] * 2):
        rows = rows_of(chosen_options, position=10)
        for is_allowed in (False, False, True):
            assert ((Sampler(3).choose(logits, rows) == 3) == is_allowed).all()
            rows["position"] += 1
    assert (logits[:, 3] == 50).all()


@pytest.mark.parametrize("width", [70, 600])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_marked_and_its_neighbours_are_not_touched(bad: float, width: int) -> None:
    logits = random_logits(4, width)
    for options in OPTIONS:
        for others in (options, GenerationOptions(temperature=0)):
            rows = rows_of([options, others] * 2)
            before = Sampler(None).choose(logits, rows)
            damaged = logits.copy()
            damaged[1] = damaged[2] = bad
            damaged[2, :30] = 0 if bad != -np.inf else bad
            after = Sampler(None).choose(damaged, rows)
            assert after.tolist() == [before[0], NOT_FINITE, NOT_FINITE, before[3]]


def test_excluded_tokens_may_be_minus_infinity() -> None:
    logits = np.full((50, 70), -np.inf, np.float32)
    logits[:, 9] = -1e30
    logits[:, 8] = 5
    assert set(Sampler(None).choose(logits, rows_of([GenerationOptions(top_k=3, top_p=0.99)] * 50))) == {8}
