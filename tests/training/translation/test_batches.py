import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tokenizer import Tokenizer
from training.data.pairs import Pair
from training.translation.batches import IGNORED, PairBatch, PairBatches, source_variant

PAIRS = [Pair("The " + "sea " * (i % 5) + f"{i}.", f"La mer {i}" + "!" * (i % 3)) for i in range(30)]
TOKENIZER = Tokenizer.byte_bpe([text for pair in PAIRS for text in pair[:2]], 280, end_token=True)


def batches(seed: int, variants: float = 0.0) -> PairBatches:
    return PairBatches(PAIRS, TOKENIZER, sentences=4, seed=seed, source_variants=variants)


def same(one: PairBatch, other: PairBatch) -> bool:
    return all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(one, other, strict=True))


def test_the_decoder_reads_the_end_token_and_then_what_it_should_have_written() -> None:
    end = TOKENIZER.end_id
    seen = []
    for batch in batches(1).starting_at(0, 0):
        assert batch.num_targets == int((batch.targets != IGNORED).sum())
        assert set(batch.inputs[:, 0].tolist()) == {end}
        for row, length in enumerate(batch.lengths.tolist()):
            source = batch.ids[row, :length].tolist()
            target = batch.targets[row][batch.targets[row] != IGNORED].tolist()
            assert source[-1] == target[-1] == end
            assert batch.inputs[row, 1 : len(target)].tolist() == target[:-1]
            seen.append((TOKENIZER.decode(source), TOKENIZER.decode(target)))
    assert sorted(seen) == sorted((pair.source, pair.target) for pair in PAIRS)


@settings(max_examples=20)
@given(epoch=st.integers(0, 3), position=st.integers(0, 7))
def test_an_epoch_entered_in_its_middle_goes_on_as_if_read_from_its_beginning(epoch: int, position: int) -> None:
    whole = list(batches(3, variants=0.5).starting_at(epoch, 0))
    rest = list(batches(3, variants=0.5).starting_at(epoch, position))
    assert [batch.position for batch in rest] == list(range(position, len(whole)))
    assert all(same(one, other) for one, other in zip(whole[position:], rest, strict=True))
    assert len(whole) == batches(3).num_batches(epoch)


def test_variants_change_sources_only() -> None:
    assert source_variant("Is It You?", 0) == "Is It You"
    assert source_variant("Is It You?", 1) == "is it you?"
    assert source_variant("Is It You?", 2) == "is it you"
    plain, varied = (list(batches(3, variants=share).starting_at(0, 0)) for share in (0.0, 0.9))
    assert all(torch.equal(one.targets, other.targets) for one, other in zip(plain, varied, strict=True))
    assert any(not torch.equal(one.ids, other.ids) for one, other in zip(plain, varied, strict=True))
