"""Which modules are our own networks in other words, and why others are not."""

import pytest
import torch
from torch import nn

from export.tasks.task import WrapFacts
from export.user_module.wrap.generation import user_language_model
from export.user_module.wrap.native import NotNativeError, native_classifier, native_language_model
from export.user_module.wrap.sentiment import user_classifier
from models.network.language_model import LanguageModel
from tests.export.user_module.wrap import user_modules
from tests.export.user_module.wrap.user_modules import V


def language_model(module: nn.Module) -> LanguageModel:
    return native_language_model(user_language_model(module.eval(), WrapFacts(V)))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(1)


def test_an_lstm_that_packs_from_long_to_short() -> None:
    config = language_model(user_modules.PlainLM()).config
    assert (config.kind, config.num_layers, config.hidden_size, config.tied_embeddings) == ("lstm", 2, 24, False)


def test_layers_without_bias_have_zeros() -> None:
    model = language_model(user_modules.biasless_lm())
    assert not dict(model.named_parameters())["recurrent.layers.bias_ih_l1"].any()
    assert not model.head.bias.any()


def test_a_chain_of_time_major_layers_tied_to_the_embedding() -> None:
    config = language_model(user_modules.ChainLM()).config
    assert (config.kind, config.num_layers, config.tied_embeddings) == ("gru", 2, True)


def test_a_cell_in_a_loop() -> None:
    config = language_model(user_modules.CellLM()).config
    assert (config.kind, config.num_layers) == ("rnn-relu", 1)


def test_logits_that_are_normalised_already() -> None:
    class LogLM(user_modules.PlainLM):
        def forward(self, ids: torch.Tensor, lengths: torch.Tensor, h: object = None, c: object = None) -> object:
            logits, h, c = super().forward(ids, lengths, h, c)
            return logits.log_softmax(-1), h, c

    assert language_model(LogLM()).config.kind == "lstm"


@pytest.mark.parametrize(
    ("module", "pooling"),
    [
        (user_modules.Reviews, "last"),
        (user_modules.MeanReviews, "mean"),
        (user_modules.AttentiveReviews, "attention"),
    ],
)
def test_a_classifier_is_known_by_its_answers(module: type[nn.Module], pooling: str) -> None:
    config = native_classifier(user_classifier(module().eval(), WrapFacts(V))).config
    assert (config.pooling, config.num_classes, config.bidirectional) == (pooling, 2, True)


def test_one_logit_becomes_two_with_the_same_difference() -> None:
    user = user_classifier(user_modules.MeanReviews().eval(), WrapFacts(V))
    ids, lengths = torch.arange(12).reshape(2, 6), torch.tensor([6, 3])
    with torch.no_grad():
        logits = native_classifier(user)(ids, lengths)
        assert torch.allclose(logits[:, 1] - logits[:, 0], user.module(ids, lengths), atol=1e-6)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (user_modules.ResidualLM, r"norm \(LayerNorm\) has weights of its own"),
        (user_modules.UnpackedLM, r"norm \(LayerNorm\) has weights of its own"),
    ],
)
def test_another_part_is_named(module: type[nn.Module], says: str) -> None:
    with pytest.raises(NotNativeError, match=says):
        language_model(module())


def test_the_same_parts_in_another_use_are_found_out_by_the_answers() -> None:
    class Doubled(user_modules.PlainLM):
        def forward(self, ids: torch.Tensor, lengths: torch.Tensor, h: object = None, c: object = None) -> object:
            logits, h, c = super().forward(ids, lengths, h, c)
            return 2 * logits, h, c

    with pytest.raises(NotNativeError, match="with the same weights our network answers otherwise"):
        language_model(Doubled())
    with pytest.raises(NotNativeError, match=r"answers otherwise with each pooling \(last, mean, max\)"):
        native_classifier(user_classifier(user_modules.SummingReviews().eval(), WrapFacts(V)))


def test_a_projection_is_named() -> None:
    module = user_modules.PlainLM()
    module.rnn = nn.LSTM(16, 24, batch_first=True, proj_size=8)
    module.out = nn.Linear(8, V)
    with pytest.raises(NotNativeError, match="layer rnn has proj_size"):
        language_model(module)
