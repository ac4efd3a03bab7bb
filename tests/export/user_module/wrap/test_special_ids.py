"""What a forward does with some ids alone is found, whatever the size of the vocabulary, and kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Regex, pre_tokenizers
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel
from torch import Tensor, nn

from export.tasks.task import WrapFacts
from export.user_module.wrap.consistency import note_nan
from export.user_module.wrap.generation import user_language_model
from export.user_module.wrap.native import NotNativeError, native_classifier, native_language_model
from export.user_module.wrap.sentiment import user_classifier
from export.user_module.wrap.texts import ComparedTexts, Targets, every_id, special_ids, special_texts
from models.errors import ParityError
from tests.export.user_module.wrap import user_modules
from tests.export.user_module.wrap.test_wrap import wrapped
from tests.export.user_module.wrap.user_modules import unsorted

LARGE = 5000
RARE = 3217  # an id that neither a mark nor the code gives away

Rule = Callable[[Tensor], Tensor]  # ids -> which of them count
RULES: dict[str, Rule] = {
    "padding": lambda ids: ids != 0,
    "the last id": lambda ids: ids != LARGE - 1,
    "a number in the code": lambda ids: ids != 1234,
    "a threshold": lambda ids: ids >= 17,
    "a rare id": lambda ids: ids != RARE * (1 + ids.new_zeros(())),
}


class PooledReviews(nn.Module):
    """An LSTM whose outputs at some ids are left out of the mean or the maximum."""

    def __init__(self, counts: Rule, pooling: str, size: int = LARGE) -> None:
        super().__init__()
        self.emb, self.rnn = nn.Embedding(size, 8), nn.LSTM(8, 8, batch_first=True)
        self.fc, self.counts, self.pooling = nn.Linear(8, 2), counts, pooling

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        outputs, _ = unsorted(self.rnn, self.emb(ids), lengths)
        ids = ids[:, : outputs.shape[1]]
        is_text = torch.arange(ids.shape[1]) < lengths.unsqueeze(1)
        kept = (is_text & self.counts(ids)).unsqueeze(2)
        if self.pooling == "mean":
            pooled = (outputs * kept).sum(1) / kept.sum(1).clamp(min=1)
        else:
            pooled = outputs.masked_fill(~kept, -1e9).amax(1)
        result: Tensor = self.fc(pooled)
        return result


class BanningLM(nn.Module):
    """A language model that forgets everything at one id."""

    def __init__(self, counts: Rule, size: int = LARGE) -> None:
        super().__init__()
        self.emb, self.rnn, self.out = nn.Embedding(size, 8), nn.GRU(8, 8, batch_first=True), nn.Linear(8, size)
        self.counts = counts

    def forward(self, ids: Tensor, lengths: Tensor, h: Any = None) -> Any:
        outputs, h = unsorted(self.rnn, self.emb(ids) * self.counts(ids).unsqueeze(2), lengths, h)
        return self.out(outputs), h


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(1)


@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("rule", RULES)
def test_a_classifier_that_leaves_out_some_ids_is_not_native(rule: str, pooling: str) -> None:
    user = user_classifier(PooledReviews(RULES[rule], pooling).eval(), WrapFacts(LARGE, longest=64))
    with pytest.raises(NotNativeError, match="with the same weights our network answers otherwise"):
        native_classifier(user)


@pytest.mark.parametrize("rule", ["padding", "a number in the code"])
def test_a_language_model_that_treats_an_id_otherwise_is_not_native(rule: str) -> None:
    user = user_language_model(BanningLM(RULES[rule]).eval(), WrapFacts(LARGE))
    with pytest.raises(NotNativeError, match="with the same weights our network answers otherwise"):
        native_language_model(user)


def test_the_same_classifier_without_a_rule_is_native() -> None:
    user = user_classifier(PooledReviews(lambda ids: ids >= 0, "mean").eval(), WrapFacts(LARGE, longest=64))
    assert native_classifier(user).config.pooling == "mean"


def test_the_ids_of_marks_code_and_ends_come_first_and_a_small_vocabulary_is_tried_whole() -> None:
    module = PooledReviews(RULES["a number in the code"], "mean")
    assert sorted(special_ids(module, WrapFacts(30, mark_ids=(7,)))) == list(range(30))
    assert special_ids(module, WrapFacts(30, mark_ids=(7,)))[0] == 7
    found = special_ids(module, WrapFacts(LARGE, mark_ids=(77, 4000)))
    assert found[:2] == [77, 4000]
    assert {0, 1, 2, 3, LARGE - 1, 1233, 1234, 1235} <= set(found)
    assert len(found) <= 64


def test_each_special_id_stands_alone_first_last_and_within() -> None:
    rows = [row for batch in special_texts([5, 9], LARGE, 30, 0) for row in batch]
    for i in (5, 9):
        own = [row for row in rows if i in row and len(row) < 20]
        assert [i] in own
        assert [i] * 3 in own
        assert any(row[0] == i != row[-1] for row in own)
        assert any(row[-1] == i != row[0] for row in own)
        assert any(i not in (row[0], row[-1]) for row in own)


def test_every_id_is_read_once_within_the_tokenizers_length() -> None:
    facts = WrapFacts(1000, longest=10)
    batches = list(every_id(facts, 0, 1000, 48, 32))
    rows = [row for batch in batches for row in batch]
    assert sorted(i for row in rows for i in row) == list(range(1000))
    assert max(map(len, rows)) == 10
    texts = [row for batch in ComparedTexts(nn.Linear(1, 1), facts, 0, 2) for row in batch]
    assert max(map(len, texts)) == 10
    assert {i for row in texts for i in row} == set(range(1000))


def test_a_decoder_is_fed_every_id_and_special_ones_often() -> None:
    targets = Targets(nn.Linear(1, 1), WrapFacts(200, mark_ids=(150,)), 0)
    fed = np.concatenate([targets.draw(32, 12).ravel() for _ in range(8)])
    assert len(set(fed.tolist())) == 200
    assert (fed == 150).sum() > 20


def test_texts_that_take_too_long_are_left_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = ComparedTexts(nn.Linear(1, 1), WrapFacts(30), 0, 2)
    seconds = iter(range(0, 10_000, 9))
    monkeypatch.setattr("export.user_module.wrap.texts.time.process_time", lambda: next(seconds))
    assert len(list(compared)) == 2
    assert compared.num_left > 5


class SoftReviews(PooledReviews):
    """Attention over what counts; over nothing it is a mean over whatever the batch is padded to."""

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        outputs, _ = unsorted(self.rnn, self.emb(ids), lengths)
        ids = ids[:, : outputs.shape[1]]
        kept = (torch.arange(ids.shape[1]) < lengths.unsqueeze(1)) & self.counts(ids)
        weights = outputs.sum(2).masked_fill(~kept, -1e9).softmax(1)
        result: Tensor = self.fc(torch.tanh((weights.unsqueeze(1) @ outputs).squeeze(1)))
        return result


class ForgettingLM(BanningLM):
    """Forgets what was read in the same call, where one id is in it: a prompt in pieces is another prompt."""

    def forward(self, ids: Tensor, lengths: Tensor, h: Any = None) -> Any:
        is_text = torch.arange(ids.shape[1]) < lengths.unsqueeze(1)
        has_none = (self.counts(ids) | ~is_text).all(1)
        outputs, h = unsorted(self.rnn, self.emb(ids) * has_none[:, None, None], lengths, h)
        return self.out(outputs), h


@pytest.mark.parametrize(
    ("module", "task", "says"),
    [
        (
            lambda: SoftReviews(lambda ids: ids != 0, "", 300),
            "sentiment",
            "by_padding.* a softmax over -1e9",
        ),
        (lambda: ForgettingLM(lambda ids: ids != 123, 300), "generation", "by_chunks.* read in pieces"),
    ],
)
def test_what_depends_on_padding_or_pieces_at_some_ids_alone_is_refused_by_its_cause(
    module: Callable[[], nn.Module], task: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = ["<unk>", "<eos>", *(chr(0x4E00 + i) for i in range(298))]
    backend = Backend(WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    backend.save(str(tmp_path / "tokenizer.json"))
    monkeypatch.setattr(user_modules, "special_module", module, raising=False)
    with pytest.raises(ParityError, match=says):
        wrapped(tmp_path, "special_module", task)


def test_the_first_shortest_text_that_is_answered_with_nan_is_said_once() -> None:
    remarks: list[str] = []
    answers = np.array([[0.0, 1.0], [np.nan, 0.0], [np.nan, np.nan], [np.inf, 0.0]])
    for _ in range(2):
        note_nan(remarks, "Reviews", [[1], [0, 0, 0], [0], [2]], answers)
    (remark,) = remarks
    assert remark.startswith("Reviews gives NaN for the text of the ids 0, so such a text is answered with an error.")
