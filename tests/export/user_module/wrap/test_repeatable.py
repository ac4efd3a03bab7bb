"""A forward that answers otherwise each time is refused by its cause and line, not as a decision of the trace."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from export.tasks.task import WrapFacts
from export.user_module.wrap.generation import user_language_model
from export.user_module.wrap.sentiment import user_classifier
from export.user_module.wrap.translation import user_translator
from models.errors import UnsupportedModelError
from tests.export.user_module.wrap.user_modules import Numbers, ResidualLM, SummingReviews, V


class WeightDrop(nn.Module):
    """As people write it, with the training flag forgotten."""

    def __init__(self, layer: nn.GRU) -> None:
        super().__init__()
        self.layer = layer
        self.raw = nn.Parameter(layer._parameters["weight_hh_l0"].detach().clone())  # type: ignore[union-attr]

    def forward(self, *arguments: Any) -> Any:
        dropped: Any = nn.functional.dropout(self.raw, 0.5)
        self.layer._parameters["weight_hh_l0"] = dropped
        return self.layer(*arguments)


class WeightDropLM(ResidualLM):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = WeightDrop(self.rnn)  # type: ignore[assignment]


class NoisyReviews(SummingReviews):
    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        logits = super().forward(ids, lengths)
        return logits + torch.randn_like(logits)


class CountingReviews(SummingReviews):
    calls = 0

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(ids, lengths) + self.calls


class DroppingNumbers(Numbers):
    def step(self, *arguments: Any) -> Any:
        logits, state, attention = super().step(*arguments)
        return nn.functional.dropout(logits), state, attention


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_weight_drop_that_drops_in_eval_mode_is_named_with_its_line() -> None:
    says = r"WeightDropLM\.forward draws random numbers: dropout in test_repeatable\.py, line \d+ .*raw, 0\.5.* weight"
    with pytest.raises(UnsupportedModelError, match=says):
        user_language_model(WeightDropLM().eval(), WrapFacts(V))


def test_other_random_numbers_are_named_with_their_line() -> None:
    with pytest.raises(UnsupportedModelError, match=r"draws random numbers: randn_like in test_repeatable\.py, line"):
        user_classifier(NoisyReviews().eval(), WrapFacts(V))
    with pytest.raises(UnsupportedModelError, match=r"DroppingNumbers\.step draws random numbers: dropout in test_rep"):
        user_translator(DroppingNumbers().eval(), WrapFacts(V, end_id=1))


def test_what_is_kept_between_calls_is_no_random_number() -> None:
    with pytest.raises(UnsupportedModelError, match=r"keeps something on the module between calls .* as an argument"):
        user_classifier(CountingReviews().eval(), WrapFacts(V))
