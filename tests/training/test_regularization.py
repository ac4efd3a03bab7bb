"""Regularisation acts in training, in the way its papers say, and leaves the network itself as it was."""

from typing import Any

import pytest
import torch
from torch import nn

from models.bundle import Bundle
from models.config import RecurrentConfig
from models.errors import ConfigError
from models.network.recurrent import RecurrentStack
from tests.training.conftest import RecipeMaker
from training.recipe import RegularizationSection
from training.regularization import LockedDropout, regularize
from training.run import run

KINDS = ("lstm", "gru", "rnn-tanh", "rnn-relu", "layer-norm-lstm")


class Model(nn.Module):
    def __init__(self, kind: str, *, dropout: float, bidirectional: bool = False, num_layers: int = 2) -> None:
        super().__init__()
        self.config = RecurrentConfig(
            kind=kind,
            input_size=6,
            hidden_size=5,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
        )
        self.dropout = nn.Dropout(dropout)
        self.recurrent = RecurrentStack(self.config)


@pytest.mark.parametrize("has_lengths", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_with_nothing_dropped_a_regularised_stack_computes_the_same(kind: str, has_lengths: bool) -> None:
    torch.manual_seed(1)
    model = Model(kind, dropout=0.0, bidirectional=has_lengths)
    inputs, state = torch.randn(3, 7, 6), torch.randn(3, model.config.state_size)
    lengths = torch.tensor([4, 7, 2]) if has_lengths else None
    plain = model.recurrent(inputs, state, lengths)
    names = list(model.state_dict())
    regularize(model, RegularizationSection(weight_drop=1e-12))
    assert list(model.state_dict()) == names
    for found, expected in zip(model.recurrent(inputs, state, lengths), plain, strict=True):
        torch.testing.assert_close(found, expected, equal_nan=True)  # an LSTM's c with lengths


@pytest.mark.parametrize("kind", KINDS)
def test_dropped_recurrent_weights_change_training_alone_and_get_gradients(kind: str) -> None:
    torch.manual_seed(1)
    model = Model(kind, dropout=0.0, num_layers=1)
    inputs, state = torch.randn(3, 7, 6), torch.zeros(3, model.config.state_size)
    plain, _ = model.recurrent(inputs, state)
    regularize(model, RegularizationSection(weight_drop=0.5))
    first, second = (model.recurrent(inputs, state)[0] for _ in range(2))
    assert not torch.equal(first, second)
    # the first step reads no recurrent weight (its state is 0) but for a layer norm's bias
    torch.testing.assert_close(first[:, 0], plain[:, 0])
    first.sum().backward()
    name = "steps.0.from_state.weight" if kind == "layer-norm-lstm" else "weight_hh_l0"
    gradient = dict(model.recurrent.layers.named_parameters())[name].grad
    assert gradient is not None
    share = float((gradient == 0).float().mean())
    assert 0.2 < share < 0.9
    model.eval()
    torch.testing.assert_close(model.recurrent(inputs, state)[0], plain, rtol=0, atol=1e-6)


def test_locked_dropout_has_one_mask_for_all_time_steps_of_a_row() -> None:
    torch.manual_seed(1)
    locked = LockedDropout(0.5)
    kept = locked(torch.ones(4, 9, 64)) != 0
    assert (kept == kept[:, :1]).all()
    assert not (kept[0] == kept[1]).all()
    assert locked(torch.ones(4, 9, 64)).mean() == pytest.approx(1.0, abs=0.2)
    locked.eval()
    assert (locked(torch.ones(4, 9, 64)) == 1).all()


@pytest.mark.parametrize("kind", ["lstm", "layer-norm-lstm", "min-gru"])
def test_dropout_between_layers_is_locked_too(kind: str) -> None:
    torch.manual_seed(1)
    model = Model(kind, dropout=0.4)
    regularize(model, RegularizationSection(locked_dropout=True))
    seen: list[torch.Tensor] = []
    for module in model.modules():
        if "LockedDropout" in type(module).__name__:
            module.register_forward_hook(lambda _, __, output: seen.append(output))
    inputs, state = torch.randn(2, 5, 6), torch.zeros(2, model.config.state_size)
    assert not torch.equal(model.recurrent(inputs, state)[0], model.recurrent(inputs, state)[0])
    for values in seen:  # of stepped layers, time-major
        assert ((values == 0) == (values == 0)[:1]).all()


def test_embedding_dropout_drops_a_token_wherever_it_occurs() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Embedding(100, 3))
    regularize(model, RegularizationSection(embedding_dropout=0.5))
    ids = torch.arange(100).repeat(2)
    vectors = model(ids)
    is_zero = (vectors == 0).all(dim=1)
    assert torch.equal(is_zero[:100], is_zero[100:])
    assert 20 < int(is_zero[:100].sum()) < 80
    model.eval()
    assert not (model(ids) == 0).any()


ALL: dict[str, Any] = {"weight_drop": 0.3, "locked_dropout": True, "embedding_dropout": 0.2}


@pytest.mark.parametrize("task", ["generation", "translation", "sentiment", "tagging"])
def test_every_task_trains_with_all_of_them(task: str, make_recipe: RecipeMaker) -> None:
    recipe = make_recipe(task=task, epochs=1, regularization=ALL, label_smoothing=0.1)
    bundle = Bundle(run(recipe))
    loss = next(name for name in bundle.record.metrics if "nats" in name)
    epoch = bundle.record.provenance["epochs"][0]
    assert bundle.record.metrics[loss] == pytest.approx(epoch[loss], abs=1e-5)  # measured without any of them
    assert bundle.record.provenance["recipe"]["regularization"] == ALL


def test_what_does_not_fit_is_a_sentence_and_the_folder_stays_usable(make_recipe: RecipeMaker) -> None:
    sizes = {"kind": "lstm", "embedding_size": 12, "hidden_size": 16, "num_layers": 1}
    for model, section, message in (
        (sizes, {"locked_dropout": True}, r"locked_dropout: model\.dropout is 0"),
        ({**sizes, "kind": "min-gru"}, {"weight_drop": 0.1}, r"weight_drop: a min-gru has no recurrent weights"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(make_recipe(epochs=1, model=model, regularization=section))
    assert run(make_recipe(epochs=1, model=sizes)).name == "1"
