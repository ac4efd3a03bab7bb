from collections import Counter

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.sentiment.batches import EncodedText, Part, TextBatch, TextBatches

FEW = [EncodedText([i] * (1 + i % 4), i % 2) for i in range(10)]
MANY = [EncodedText([100 + i] * (1 + i % 7), i % 2) for i in range(60)]


def mixed(token_dropout: float = 0.0, epochs: int = 3) -> TextBatches:
    parts = [Part(FEW, repeat=2), Part(MANY, repeat=1, examples=40, fade_to=0.5)]
    return TextBatches(parts, texts=8, epochs=epochs, seed=5, token_dropout=token_dropout)


def first_ids(batches: list[TextBatch]) -> Counter[int]:
    return Counter(int(row[0]) for batch in batches for row in batch.ids)


def test_an_epoch_repeats_one_data_set_and_draws_from_the_other() -> None:
    counts = first_ids(list(mixed().starting_at(0, 0)))
    assert all(counts[i] == 2 for i in range(10))
    drawn = {token for token in counts if token >= 100}
    assert len(drawn) == 40
    assert drawn != {token for token in first_ids(list(mixed().starting_at(1, 0))) if token >= 100}


def test_a_data_set_fades_along_a_line() -> None:
    for epoch, many in enumerate([40, 30, 20]):
        batches = list(mixed().starting_at(epoch, 0))
        assert sum(batch.num_targets for batch in batches) == 20 + many
        assert len(batches) == mixed().num_batches(epoch)


@settings(max_examples=20)
@given(epoch=st.integers(0, 2), position=st.integers(0, 5))
def test_an_epoch_entered_in_its_middle_goes_on_as_if_read_from_its_beginning(epoch: int, position: int) -> None:
    whole = list(mixed(0.4).starting_at(epoch, 0))[position:]
    rest = list(mixed(0.4).starting_at(epoch, position))
    assert [batch.position for batch in rest] == [batch.position for batch in whole]
    for one, other in zip(whole, rest, strict=True):
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.labels, other.labels)


def test_dropped_tokens_leave_a_shorter_text_that_is_never_empty() -> None:
    texts = [EncodedText([1], 0), EncodedText(list(range(50)), 1)] * 20
    batches = TextBatches([Part(texts, 1)], texts=1, epochs=1, seed=1, token_dropout=0.4)
    lengths = [int(batch.lengths[0]) for batch in batches.starting_at(0, 0)]
    assert min(lengths) == 1
    assert len({length for length in lengths if length > 1}) > 5
