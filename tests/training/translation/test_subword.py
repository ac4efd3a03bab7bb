import numpy as np
import pytest

from models.bundle import Bundle
from models.errors import ConfigError
from models.tokenizer import Tokenizer
from tests.training.conftest import RecipeMaker
from training.data.pairs import Pair
from training.run import run
from training.translation.batches import PairBatches
from training.translation.subword import BpeDropout, SampledSources

TEXTS = ["The sea was calm, the wind blew.", "A ship, a bird and the wind - 42 of them.", "Écoute le vent; 海 is sea."]
TOKENIZER = Tokenizer.byte_bpe(TEXTS * 5, 320, end_token=True)


def test_without_dropout_it_splits_as_the_tokenizer_does() -> None:
    for text in TEXTS:
        assert BpeDropout(TOKENIZER, 0.0).encode(text, np.random.default_rng(0)) == TOKENIZER.encode(text)


def test_with_dropout_the_same_text_is_split_in_other_ways() -> None:
    sampled = BpeDropout(TOKENIZER, 0.5)
    generator = np.random.default_rng(0)
    found = [sampled.encode(TEXTS[0], generator) for _ in range(5)]
    assert {TOKENIZER.decode(ids) for ids in found} == {TEXTS[0]}
    assert len({tuple(ids) for ids in found}) > 1
    assert min(map(len, found)) >= len(TOKENIZER.encode(TEXTS[0]))


def test_an_epoch_begun_in_the_middle_reads_the_same_sources() -> None:
    pairs = [Pair(text, text) for text in TEXTS * 4]
    plain = PairBatches(pairs, TOKENIZER, sentences=3, seed=1, source_variants=0.5)
    batches = SampledSources(plain, TOKENIZER, share=0.3, seed=1)
    whole, rest = list(batches.starting_at(1, 0)), list(batches.starting_at(1, 2))
    for one, other in zip(whole[2:], rest, strict=True):
        assert one.ids.tolist() == other.ids.tolist()
        assert one.targets.tolist() == other.targets.tolist()
    assert batches.num_batches(0) == 4
    assert whole[0].ids.tolist() != next(batches.starting_at(0, 0)).ids.tolist()


def test_a_translator_trains_with_it(make_recipe: RecipeMaker) -> None:
    plain, sampled = (
        Bundle(run(make_recipe(task="translation", epochs=1, bpe_dropout=share), fresh=True)) for share in (0.0, 0.2)
    )
    assert plain.tokenizer.to_json() == sampled.tokenizer.to_json()
    assert plain.record.files["weights.safetensors"] != sampled.record.files["weights.safetensors"]


def test_bleu_after_each_epoch_is_an_option(make_recipe: RecipeMaker) -> None:
    bundle = Bundle(run(make_recipe(task="translation", epochs=1, bleu_sentences=5)))
    assert 0 <= bundle.record.provenance["epochs"][0]["validation_bleu"] <= 100
    assert "validation_bleu" not in bundle.record.metrics  # where it is of the whole part, and of each search


def test_characters_have_no_merges(make_recipe: RecipeMaker) -> None:
    with pytest.raises(ConfigError, match=r"bpe_dropout goes with tokenizer\.kind byte-bpe, not with character"):
        make_recipe(task="translation", bpe_dropout=0.1, tokenizer={"kind": "character"})
