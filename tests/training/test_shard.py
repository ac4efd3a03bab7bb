import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.tokenizer import Tokenizer
from training.data.pairs import Pair
from training.generation.windows import IGNORED, Windows
from training.sentiment import batches as sentiment
from training.sentiment.pretraining_module import TwoWayWindows
from training.shard import Shard
from training.stage import Batch
from training.translation.batches import PairBatches

TOKENIZER = Tokenizer.byte_bpe(["abc"], 260, end_token=True)


def shards(num_ranks: int) -> list[Shard]:
    return [Shard(rank, num_ranks) for rank in range(num_ranks)]


@given(num_rows=st.integers(1, 20), num_ranks=st.integers(1, 5))
def test_every_row_belongs_to_one_process(num_rows: int, num_ranks: int) -> None:
    items = [list(shard.of(range(num_rows))) for shard in shards(num_ranks)]
    assert sorted(itertools.chain.from_iterable(items)) == list(range(num_rows))
    if num_rows >= num_ranks:
        rows = torch.randn(num_rows, 3)
        assert torch.equal(Shard(0, num_ranks).whole([shard.rows(rows) for shard in shards(num_ranks)]), rows)


def some_batches() -> dict[str, Batch]:
    ids = np.random.default_rng(1).integers(1, 9, 30)
    pairs = [Pair("a" * (1 + i % 4), "b" * (1 + i % 3)) for i in range(3)]
    texts = [sentiment.EncodedText([i + 1] * (1 + i), i % 2) for i in range(3)]
    weights = np.full(9, 1 / 9)
    two_way = TwoWayWindows(ids, directions=2, lanes=3, length=1, weights=weights, negatives=4, seed=1)
    return {
        "window": Windows(ids, lanes=4, length=1)[7],  # the last one: two of the four lanes have ended
        "pairs": next(PairBatches(pairs, TOKENIZER, sentences=3, seed=1, source_variants=0.0).starting_at(0, 0)),
        "texts": sentiment.batch_of(texts),
        "two-way window": next(two_way.starting_at(0, 9)),
    }


@pytest.mark.parametrize("kind", ["window", "pairs", "texts", "two-way window"])
@pytest.mark.parametrize("num_ranks", [1, 2, 3, 5])
def test_the_targets_of_a_batch_are_those_of_its_shards(kind: str, num_ranks: int) -> None:
    batch = some_batches()[kind]
    parts = [batch.shard(shard) for shard in shards(num_ranks)]
    assert sum(part.num_targets for part in parts) == batch.num_targets
    assert {part.position for part in parts} == {batch.position}


def test_a_process_without_a_target_has_a_stand_in_and_no_weight() -> None:
    ids = np.arange(1, 11)  # nine targets in four lanes: the first three have two, so the last window has one lane
    window = Windows(ids, lanes=4, length=1)[2]
    parts = [window.shard(shard) for shard in shards(4)]
    assert [part.num_targets for part in parts] == [int((target != IGNORED).sum()) for target in window.targets]
    assert 0 in {part.num_targets for part in parts}
    assert all((part.targets != IGNORED).any() for part in parts)


def test_a_process_alone_has_everything() -> None:
    assert Shard().total([1.5, 2.0]) == [1.5, 2.0]
    assert Shard().gathered("state") == ["state"]
