import pytest
import torch
from torch.nn.functional import cross_entropy

from models.config import TranslatorConfig
from models.decoding.options import TranslationOptions
from models.network.translator import Translator
from models.tokenizer import Tokenizer
from training.data.pairs import Pair
from training.translation.batches import batch_of, encoded
from training.translation.evaluation import mean_nats, scores, translate

PAIRS = [Pair("the sea", "la mer"), Pair("a ship on the sea", "un bateau sur la mer"), Pair("wind", "vent")]
TOKENIZER = Tokenizer.byte_bpe([text for pair in PAIRS for text in pair[:2]] * 9, 280, end_token=True)
ENCODED = [encoded(pair, TOKENIZER) for pair in PAIRS]


def model() -> Translator:
    torch.manual_seed(4)
    config = TranslatorConfig(
        vocab_size=TOKENIZER.vocab_size,
        embedding_size=8,
        kind="gru",
        encoder_size=6,
        encoder_layers=1,
        hidden_size=10,
        num_layers=1,
        dropout=0.5,
    )
    return Translator(config).eval()


def test_nats_are_those_of_each_sentence_alone() -> None:
    network, end_id = model(), TOKENIZER.end_id
    assert end_id is not None
    total = 0.0
    for pair in ENCODED:
        batch = batch_of([pair], end_id)
        logits = network(batch.ids, batch.lengths, batch.inputs)
        total += float(cross_entropy(logits[0].double(), batch.targets[0], reduction="sum").detach())
    network.train()
    generators = torch.get_rng_state()
    expected = total / sum(len(pair.target) for pair in ENCODED)
    assert mean_nats(network, ENCODED, end_id) == pytest.approx(expected, abs=1e-6)
    assert network.training
    assert torch.equal(generators, torch.get_rng_state())


@torch.no_grad()
def test_a_beam_of_one_takes_the_likeliest_token_each_time() -> None:
    network = model()
    expected = []
    for pair in ENCODED:
        memory, keys, state = network.encode(torch.tensor([pair.source]), torch.tensor([len(pair.source)]))
        ids: list[int] = []
        token = TOKENIZER.end_id
        for _ in range(12):
            lengths = torch.tensor([len(pair.source)])
            logits, state, _ = network.step(torch.tensor([token]), state, memory, keys, lengths)
            token = int(logits[0].argmax())
            if token == TOKENIZER.end_id:
                break
            ids.append(token)
        expected.append(TOKENIZER.decode(ids))
    options = TranslationOptions(beam_size=1, max_tokens=12)
    assert translate(network, TOKENIZER, [pair.source for pair in PAIRS], options) == expected


def test_a_beam_does_not_depend_on_what_else_is_searched() -> None:
    network, options = model(), TranslationOptions(beam_size=4, max_tokens=12)
    together = translate(network, TOKENIZER, [pair.source for pair in PAIRS], options)
    assert together == [translate(network, TOKENIZER, [pair.source], options)[0] for pair in PAIRS]


def test_bleu_of_a_known_pair() -> None:
    # 4 of 5 words, 3 of 4 pairs, 2 of 3 triples and 1 of 2 quadruples are the reference's; equal lengths.
    found = scores(["the cat sat on it"], ["the cat sat on mats"], "fr")
    assert found.bleu == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert "tok:13a" in found.bleu_signature
    assert found.exact_match == 0.0


def test_chinese_is_scored_character_by_character() -> None:
    found = scores(["我在家里"], ["我在家里"], "zh")
    assert found.bleu == pytest.approx(100)
    assert found.chrf == pytest.approx(100)
    assert found.exact_match == 1.0
    assert "tok:zh" in found.bleu_signature
