import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.buckets import bucketed, generator_of, in_order, padded

LENGTHS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=60)


@given(lengths=LENGTHS, size=st.integers(1, 9), seed=st.integers(0, 5))
def test_every_example_is_read_once_in_batches_of_similar_lengths(
    lengths: list[tuple[int, ...]], size: int, seed: int
) -> None:
    batches = bucketed(lengths, size, generator_of(seed, 0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert sorted(map(len, batches))[1:] == [size] * (len(batches) - 1)
    spans = sorted((min(lengths[i] for i in batch), max(lengths[i] for i in batch)) for batch in batches)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))


@given(lengths=LENGTHS, seed=st.integers(0, 5))
def test_the_order_follows_from_the_seed_and_the_epoch(lengths: list[tuple[int, ...]], seed: int) -> None:
    def order(*key: int) -> list[list[int]]:
        return [batch.tolist() for batch in bucketed(lengths, 3, generator_of(*key))]

    assert order(seed, 1) == order(seed, 1)


def test_epochs_have_different_orders() -> None:
    lengths = [(5,)] * 100
    first, second = (np.concatenate(bucketed(lengths, 10, generator_of(1, epoch))).tolist() for epoch in (0, 1))
    assert first != second


def test_in_order_is_shortest_first() -> None:
    assert [batch.tolist() for batch in in_order([(3,), (1,), (2,)], 2)] == [[1, 2], [0]]


def test_rows_are_filled_up_at_their_ends() -> None:
    assert padded([[1], [2, 3]], -100).tolist() == [[1, -100], [2, 3]]
