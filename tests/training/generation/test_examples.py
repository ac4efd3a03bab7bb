"""Examples as batches: the answers alone count, each from a state of zeros, whatever else is in the batch."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from models.config import LanguageModelConfig
from models.errors import DataError
from models.network.language_model import LanguageModel
from models.tokenizer import Tokenizer
from training.generation.evaluation import answers
from training.generation.examples import Examples, examples_of
from training.generation.module import GenerationModule
from training.generation.windows import IGNORED

DOCUMENTS = ["a=b", "ab=ba", "a=c=bb", "bca=", "c=abcabc"]
TOKENIZER = Tokenizer.character(DOCUMENTS, end_token=True)


def model_of() -> LanguageModel:
    torch.manual_seed(0)
    size = TOKENIZER.vocab_size
    config = LanguageModelConfig(vocab_size=size, embedding_size=6, kind="gru", hidden_size=9, num_layers=1)
    return LanguageModel(config).eval()


def test_the_answer_alone_and_its_end_are_targets() -> None:
    (batch,) = Examples(examples_of(DOCUMENTS, TOKENIZER, "="), lanes=8, seed=1)
    found = {
        TOKENIZER.decode(row.tolist()): TOKENIZER.decode(target[target != IGNORED].tolist())
        for row, target in zip(batch.inputs, batch.targets, strict=True)
    }
    assert sorted(found.values()) == sorted(["b", "ba", "bb", "", "abcabc"])
    end = TOKENIZER.end_id
    for row, target in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        first = next(i for i, token in enumerate(target) if token != IGNORED)
        assert TOKENIZER.decode([row[first]]) == "="
        assert [token for token in target if token != IGNORED][-1] == end
        answer = target[first : target.index(end)]
        assert row[first + 1 : first + 1 + len(answer)] == answer
    assert batch.num_targets == sum(len(answer) + 1 for answer in found.values())


def test_every_example_is_read_once_an_epoch_in_an_order_of_the_epoch() -> None:
    examples = examples_of([f"{'a' * n}={'b' * n}" for n in range(1, 30)], TOKENIZER, "=")
    batches = Examples(examples, lanes=4, seed=1)
    epochs = []
    for epoch in (0, 1):
        read = list(batches.starting_at(epoch, 0))
        assert len(read) == batches.num_batches(epoch) == 8
        assert [batch.position for batch in read] == list(range(8))
        counts = [int((row != IGNORED).sum()) for batch in read for row in batch.targets]
        assert sorted(counts) == list(range(2, 31))
        rest = list(batches.starting_at(epoch, 5))
        assert [batch.position for batch in rest] == [5, 6, 7]
        assert torch.equal(rest[0].inputs, read[5].inputs)
        epochs.append(counts)
    assert epochs[0] != epochs[1]


def test_a_batchs_loss_is_the_mean_over_its_answers_read_one_by_one() -> None:
    model = model_of()
    examples = examples_of(DOCUMENTS, TOKENIZER, "=")
    (batch,) = Examples(examples, lanes=8, seed=1)
    loss, state = GenerationModule(model, carries_state=False)(batch, None)
    assert state is None
    total = 0.0
    for ids, start in examples:
        logits, _ = model(torch.tensor([ids]), model.recurrent.zero_state(1))
        total += float(cross_entropy(logits[0, start - 1 : -1], torch.tensor(ids[start:]), reduction="sum").detach())
    assert float(loss.detach()) == pytest.approx(total / batch.num_targets, abs=1e-6)
    nats, _ = answers(model, Examples(examples, lanes=2, seed=1))
    assert nats == pytest.approx(total / batch.num_targets, abs=1e-6)


def test_exact_answers_are_those_that_a_greedy_decode_gives() -> None:
    model = model_of()
    end = TOKENIZER.end_id
    assert end is not None
    documents = []
    for question in ("a=", "bc=", "cab=", "ba="):
        ids, state, written = TOKENIZER.encode(question), model.recurrent.zero_state(1), ""
        for _ in range(4):
            logits, state = model(torch.tensor([ids]), state)
            ids = [int(logits[0, -1].argmax())]
            if ids[0] == end:
                break
            written += TOKENIZER.decode(ids)
        documents.append((f"{question}{written}", ids[0] == end))
    wrong = [(f"{document}a", False) for document, _ in documents]
    examples = examples_of([document for document, _ in (*documents, *wrong)], TOKENIZER, "=")
    _, share = answers(model, Examples(examples, lanes=3, seed=1))
    assert share == sum(is_whole for _, is_whole in documents) / len(examples)


def test_a_document_without_the_mark_is_refused() -> None:
    with pytest.raises(DataError, match=r"document 'abc' has no '=' before its answer"):
        examples_of(["a=b", "abc"], TOKENIZER, "=")
