import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.decoding.options import GenerationOptions
from models.decoding.sampling_rows import FILTERED, GREEDY, PLAIN, SamplingRows, sampling_row
from models.decoding.uniforms import stream_key, uniforms


def row(seed: int, position: int, min_tokens: int = 0, temperature: float = 1) -> NDArray[np.void]:
    options = GenerationOptions(min_tokens=min_tokens, temperature=temperature)
    return sampling_row(options, seed=seed, choice=0, position=position)


@given(st.lists(st.sampled_from(["advance", "join", "leave", "leave and join", "look at the table"]), max_size=60))
def test_numbers_and_ends_are_those_of_each_rows_own_position_whatever_joins_and_leaves(events: list[str]) -> None:
    rows = SamplingRows.empty(60)
    expected: list[list[int]] = []  # seed, position, end_from
    for i, event in enumerate(events):
        if event == "advance":
            rows.advance()
            for item in expected:
                item[1] += 1
        elif event == "join":
            rows.rearrange(len(rows) + 1, [], [(len(rows), row(i, 10 * i, min_tokens=i % 5))])
            expected.append([i, 10 * i, 10 * i + i % 5])
        elif event == "leave":
            if expected:
                place, last = i % len(expected), len(expected) - 1
                rows.rearrange(last, [(place, last)] if place < last else [], [])
                expected[place] = expected[last]
                del expected[last]
        elif event == "leave and join":
            if expected:
                place = i % len(expected)
                rows.rearrange(len(rows), [], [(place, row(i, 10 * i, min_tokens=i % 5))])
                expected[place] = [i, 10 * i, 10 * i + i % 5]
        else:
            assert rows.table["position"].tolist() == [position for _, position, _ in expected]
        assert len(rows) == len(expected)
        if expected:
            keys = np.array([stream_key(seed, 0) for seed, _, _ in expected], np.uint64)
            (wanted,) = uniforms(keys, np.array([position for _, position, _ in expected]))
            assert rows.uniforms().tolist() == wanted.tolist()
        is_early = [position < end_from for _, position, end_from in expected]
        early = rows.early
        assert is_early == ([False] * len(rows) if early is None else early.tolist())


def test_a_batch_of_one_kind_says_so() -> None:
    kinds = {
        GREEDY: GenerationOptions(temperature=0, top_k=3),
        PLAIN: GenerationOptions(temperature=3),
        FILTERED: GenerationOptions(min_p=0.1),
    }
    rows = {kind: sampling_row(options, seed=1, choice=0, position=1) for kind, options in kinds.items()}
    for kind, one in rows.items():
        assert SamplingRows(np.concatenate([one, one])).kind == kind
    assert SamplingRows(np.concatenate(list(rows.values()))).kind is None


def test_a_tiny_temperature_is_not_zero() -> None:
    assert row(1, 1, temperature=1e-300)["kind"][0] == PLAIN
    assert row(1, 1, temperature=1e-300)["temperature"][0] > 0
