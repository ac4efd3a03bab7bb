"""Embeddings and heads with spare rows, as they are made for fast kernels: cut off, they are no fault."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from export.tasks.task import WrapFacts
from export.user_module.wrap.generation import user_language_model
from export.user_module.wrap.native import native_language_model
from export.user_module.wrap.refused_logits import is_padded
from models.errors import ExportError
from tests.export.user_module.wrap import user_modules
from tests.export.user_module.wrap.test_wrap import wrapped
from tests.export.user_module.wrap.user_modules import V, unsorted

PADDED = 64


class PaddedLM(nn.Module):
    def __init__(self, *, is_cut: bool = True, has_norm: bool = True, is_tied: bool = False) -> None:
        super().__init__()
        self.emb, self.rnn = nn.Embedding(PADDED, 16), nn.GRU(16, 16, batch_first=True)
        self.norm = nn.LayerNorm(16) if has_norm else nn.Identity()
        self.out = nn.Linear(16, PADDED)
        if is_tied:
            self.out.weight = self.emb.weight
        self.is_cut = is_cut

    def forward(self, ids: Tensor, lengths: Tensor, h: Any = None) -> Any:
        y, h = unsorted(self.rnn, self.emb(ids), lengths, h)
        logits = self.out(self.norm(y))
        return logits[..., :V] if self.is_cut else logits, h


class PaddedReviews(user_modules.Reviews):
    def __init__(self, rows: int = PADDED) -> None:
        super().__init__()
        self.emb = nn.Embedding(rows, 16)


class PaddedNumbers(user_modules.Numbers):
    def __init__(self, *, is_cut: bool = True) -> None:
        super().__init__()
        self.emb, self.out, self.is_cut = nn.Embedding(PADDED, 12), nn.Linear(32, PADDED), is_cut

    def step(self, *arguments: Any) -> Any:
        logits, state, attention = super().step(*arguments)
        return logits[:, :V] if self.is_cut else logits, state, attention


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def call(module: nn.Module, task: str) -> Any:
        monkeypatch.setattr(user_modules, "padded_module", lambda: module, raising=False)
        return wrapped(tmp_path, "padded_module", task)[0]

    torch.manual_seed(0)
    return call


@pytest.mark.parametrize("is_tied", [False, True])
def test_a_language_model_whose_forward_cuts_spare_rows_is_native_without_them(is_tied: bool) -> None:
    module = PaddedLM(has_norm=False, is_tied=is_tied).eval()
    config = native_language_model(user_language_model(module, WrapFacts(V))).config
    assert (config.vocab_size, config.tied_embeddings) == (V, is_tied)


def test_a_classifier_that_never_reads_its_spare_rows_is_native_without_them(make: Any) -> None:
    found = make(PaddedReviews(), "sentiment")
    assert (found.way, found.bundle.config.vocab_size) == ("native", V)
    assert all(report.is_passed for report in found.reports)


def test_a_translator_that_cuts_them_off_is_wrapped(make: Any) -> None:
    found = make(PaddedNumbers(), "translation")
    assert (found.way, found.bundle.record.tokenizer.vocab_size) == ("wrapped", V)
    assert all(report.is_passed for report in found.reports)


@pytest.mark.parametrize(
    ("module", "task"), [(PaddedLM(is_cut=False), "generation"), (PaddedNumbers(is_cut=False), "translation")]
)
def test_spare_rows_that_are_not_cut_off_are_refused_with_the_cut(make: Any, module: nn.Module, task: str) -> None:
    with pytest.raises(ExportError, match=r"has 31 tokens, .* gives 64 logits\. The last 33 .* logits\[\.\.\., :31\]"):
        make(module, task)


def test_a_classifier_whose_embedding_is_not_padded_has_another_tokenizer(make: Any) -> None:
    with pytest.raises(ExportError, match=r"tokenizer has 31 tokens, PaddedReviews's embedding 100\. They must agree"):
        make(PaddedReviews(100), "sentiment")


@pytest.mark.parametrize(
    ("size", "vocab_size", "wanted"),
    [(64, 34, True), (34, 34, False), (64, 66, False), (100, 34, False), (128, 1, True)],
)
def test_padding_is_known_by_its_multiple(size: int, vocab_size: int, wanted: bool) -> None:
    assert is_padded(size, vocab_size) == wanted
