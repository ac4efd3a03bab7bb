"""Bans by -1e9 and -inf hide nothing and are no fault; neither does a large number in the states."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from export.tasks.task import WrapFacts
from export.user_module.wrap.generation import user_language_model
from export.user_module.wrap.native import NotNativeError, native_classifier, native_language_model
from export.user_module.wrap.sentiment import user_classifier
from models.errors import UnsupportedModelError
from tests.export.user_module.wrap import user_modules
from tests.export.user_module.wrap.user_modules import V, unsorted

BANS = [-1e9, float("-inf"), torch.finfo(torch.float32).min]


class BanningLM(nn.Module):
    """Bans token 0; begins from zeros, or from a state that it learnt; its second state is a number for each row."""

    def __init__(self, ban: float, start: float = 0.0, count: float = 0.0) -> None:
        super().__init__()
        self.emb, self.rnn, self.out = nn.Embedding(V, 16), nn.GRU(16, 16, batch_first=True), nn.Linear(16, V)
        self.start = nn.Parameter(torch.full((1, 1, 16), start))
        self.ban, self.count = ban, count

    def forward(self, ids: Tensor, lengths: Tensor, h: Any = None, seen: Any = None) -> Any:
        if h is None:
            h, seen = self.start.expand(1, len(ids), 16).contiguous(), torch.zeros(len(ids))
        y, h = unsorted(self.rnn, self.emb(ids), lengths, h)
        return self.out(y).index_fill(2, torch.tensor([0]), self.ban), h, seen * 0 + self.count


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(2)


@pytest.mark.parametrize("start", [1.0, 1e-3])
@pytest.mark.parametrize("ban", BANS)
def test_a_learnt_initial_state_is_found_beside_a_ban(ban: float, start: float) -> None:
    with pytest.raises(UnsupportedModelError, match=r"answers otherwise than with zeros \(by 0\.\d+ of the largest"):
        user_language_model(BanningLM(ban, start).eval(), WrapFacts(V))


def test_a_learnt_initial_state_is_found_beside_a_large_state() -> None:
    class Quiet(BanningLM):
        def forward(self, *arguments: Any) -> Any:
            logits, *states = super().forward(*arguments)
            return logits * 0, *states  # only the states show it

    with pytest.raises(UnsupportedModelError, match="such as a learnt one"):
        user_language_model(Quiet(0.0, 1e-2, count=900.0).eval(), WrapFacts(V))


@pytest.mark.parametrize("ban", BANS)
def test_a_ban_is_no_learnt_initial_state(ban: float) -> None:
    assert user_language_model(BanningLM(ban).eval(), WrapFacts(V)).layout.size == 17


@pytest.mark.parametrize("ban", BANS)
def test_a_ban_makes_a_model_not_native(ban: float) -> None:
    class BannedLM(user_modules.PlainLM):
        def forward(self, *arguments: Any) -> Any:
            logits, *states = super().forward(*arguments)
            return logits.index_fill(2, torch.tensor([4]), ban), *states

    with pytest.raises(NotNativeError, match="with the same weights our network answers otherwise"):
        native_language_model(user_language_model(BannedLM().eval(), WrapFacts(V)))


@pytest.mark.parametrize("ban", BANS)
def test_a_small_change_beside_a_large_number_makes_a_classifier_not_native(ban: float) -> None:
    class Banned(user_modules.Reviews):
        num_logits = 3

        def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
            logits = super().forward(ids, lengths)
            return torch.where(
                torch.arange(3) == 2, torch.full_like(logits, ban), logits * (1 + (lengths > 60)[:, None])
            )

    with pytest.raises(NotNativeError, match="answers otherwise"):
        native_classifier(user_classifier(Banned().eval(), WrapFacts(V)))
