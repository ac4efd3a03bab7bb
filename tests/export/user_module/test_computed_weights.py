"""Weights that are computed of others, and layers with projections: the graph has what PyTorch computes with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from export.user_module.export import Exported
from models.errors import UnsupportedModelError
from tests.export.user_module.exporting import WITH_LENGTHS, Doing, X, answers, eager, exported
from tests.export.user_module.modules.weight_drops import AssignedWeights, ClonedWeights, DroppingLstm, NewParameter

NAN = float("nan")


def same(found: Exported, module: nn.Module, tmp_path: Path, *inputs: Tensor) -> None:
    names = [spec.name for spec in found.inputs]
    ours = answers(found, tmp_path, **dict(zip(names, inputs, strict=True)))
    for value, expected in zip(ours, eager(module, *inputs), strict=True):
        np.testing.assert_allclose(value, expected, atol=2e-6, equal_nan=True)


def first(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    for part in parts.values():
        x = part(x.transpose(1, 2)).transpose(1, 2) if isinstance(part, nn.Conv1d) else part(x)
        x = x[0] if isinstance(x, tuple) else x
    return x


def normed(weight_norm: Callable[..., Any], spectral_norm: Callable[..., Any]) -> nn.Module:
    lstm = weight_norm(nn.LSTM(6, 6, num_layers=2, batch_first=True), "weight_hh_l1")
    gru = spectral_norm(nn.GRU(6, 5, bidirectional=True, batch_first=True), "weight_ih_l0_reverse")
    rnn = weight_norm(spectral_norm(nn.RNN(10, 4, batch_first=True), "weight_hh_l0"), "weight_ih_l0")
    convolution = weight_norm(nn.Conv1d(8, 6, 3, padding=1))
    return Doing(first, convolution=convolution, lstm=lstm, gru=gru, rnn=rnn, linear=spectral_norm(nn.Linear(4, 3)))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("generation", ["hooks", "parametrizations"])
def test_weight_norm_and_spectral_norm_are_followed(generation: str, tmp_path: Path) -> None:
    module = normed(*(getattr(torch.nn.utils, name) for name in ("weight_norm", "spectral_norm")))
    if generation == "parametrizations":
        module = normed(parametrizations.weight_norm, parametrizations.spectral_norm)
        parametrizations.orthogonal(module.get_submodule("parts.lstm"), "weight_hh_l0")
    module.train()(torch.randn(2, 5, 8)).sum().backward()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = exported(module)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    same(found, module, tmp_path, torch.randn(3, 41, 8))
    module.train()(torch.randn(2, 5, 8)).sum().backward()  # it still is what the user trains


@pytest.mark.parametrize("is_trained", [False, True], ids=["fresh", "trained"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: AssignedWeights(nn.LSTM(8, 6, num_layers=2, batch_first=True)),
        lambda: AssignedWeights(nn.GRU(8, 6, bidirectional=True, batch_first=True), is_variational=True),
        lambda: ClonedWeights(nn.RNN(8, 6, batch_first=True)),
        lambda: DroppingLstm(8, 6, num_layers=2, batch_first=True),
        lambda: NewParameter(nn.LSTM(8, 6, batch_first=True)),
    ],
    ids=["assigned", "variational", "cloned", "own_forward", "parameter"],
)
def test_weight_drop_is_followed(make: Callable[[], nn.Module], is_trained: bool, tmp_path: Path) -> None:
    module = Doing(first, layer=make())
    if is_trained:
        module.train()(torch.randn(2, 5, 8)).sum().backward()
    module.eval()
    before = [{**vars(part), "_parameters": dict(part._parameters)} for part in module.modules()]
    found = exported(module)
    for part, attributes in zip(module.modules(), before, strict=True):
        assert vars(part).keys() == attributes.keys()
        assert vars(part)["_parameters"] == attributes.pop("_parameters")
        torch_s_own = ("_flat_weights", "_flat_weight_refs")  # which it makes anew when a layer is copied
        assert all(vars(part)[name] is value for name, value in attributes.items() if name not in torch_s_own)
    same(found, module, tmp_path, torch.randn(3, 41, 8))


@pytest.mark.parametrize("way", ["data", "copy"])
def test_weights_that_are_written_over_are_refused_by_name(way: str) -> None:
    raw = torch.randn(24, 6)

    def forward(parts: nn.ModuleDict, x: Tensor) -> Any:
        if way == "data":
            parts["lstm"].weight_hh_l0.data = raw * 1.0
        else:
            parts["lstm"].weight_hh_l0.copy_(raw)  # type: ignore[operator]
        return parts["lstm"](x)[0]

    with pytest.raises(UnsupportedModelError) as refused:
        exported(Doing(forward, lstm=nn.LSTM(8, 6, batch_first=True)))
    assert "writes over weights of a recurrent layer at every call (parts.lstm.weight_hh_l0)" in str(refused.value)
    assert "self.lstm.weight_hh_l0 = weight" in str(refused.value)


def test_weights_made_of_an_input_are_refused() -> None:
    def forward(parts: nn.ModuleDict, x: Tensor) -> Any:
        weights = {"weight_hh_l0": parts["lstm"].get_parameter("weight_hh_l0") * x.mean()}
        return torch.func.functional_call(parts["lstm"], weights, (x,))[0]

    with pytest.raises(UnsupportedModelError, match="computes weights of a recurrent layer from its inputs"):
        exported(Doing(forward, lstm=nn.LSTM(8, 6, batch_first=True)))


class Scaled(nn.LSTM):
    """A layer with a forward of its own."""

    def forward(self, input: Tensor, hx: Any = None) -> Any:  # type: ignore[override]  # noqa: A002
        outputs, states = super().forward(input, hx)
        return outputs * 2, states


def test_a_layer_with_a_forward_of_its_own_is_followed(tmp_path: Path) -> None:
    module = Doing(first, layer=Scaled(8, 6, batch_first=True))
    same(exported(module), module, tmp_path, torch.randn(3, 41, 8))


def test_a_layer_without_a_batch_is_followed(tmp_path: Path) -> None:
    module = Doing(lambda parts, x: parts["gru"](x), gru=nn.GRU(8, 6, num_layers=2))
    same(exported(module, ["x:float32[time,8]"]), module, tmp_path, torch.randn(41, 8))


def test_what_a_forward_leaves_on_the_module_is_no_state(tmp_path: Path) -> None:
    def forward(parts: nn.ModuleDict, x: Tensor) -> Any:
        outputs = parts["gru"](x)[0]
        parts["gru"].attention = outputs.softmax(1)
        return outputs

    module = Doing(forward, gru=nn.GRU(8, 6, batch_first=True))
    same(exported(module), module, tmp_path, torch.randn(3, 41, 8))


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_projections_are_followed_both_ways_packed_and_from_given_states(tmp_path: Path) -> None:
    def forward(parts: nn.ModuleDict, x: Tensor, lengths: Tensor, h: Tensor, c: Tensor) -> Any:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, states = parts["lstm"](packed, (h, c))
        padded, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.size(1))
        return parts["above"](padded)[0], states

    lstm = nn.LSTM(8, 6, proj_size=3, bidirectional=True, batch_first=True)
    module = Doing(forward, lstm=lstm, above=nn.LSTM(6, 5, num_layers=2, proj_size=2, bias=False, batch_first=True))
    found = exported(module, (*WITH_LENGTHS, "h:float32[2,batch,3]", "c:float32[2,batch,6]"))
    x, h, c = torch.randn(5, 41, 8), torch.randn(2, 5, 3), torch.randn(2, 5, 6)
    lengths = torch.tensor([41, 1, 7, 40, 2])
    same(found, module, tmp_path, x, lengths, h, c)
    same(found, module, tmp_path, x[:1, :1], lengths[1:2], h[:, :1], c[:, :1])
    x[1, 0, 2], h[1, 2, 1], c[0, 3, 0] = NAN, NAN, NAN
    same(found, module, tmp_path, x, lengths, h, c)
    nothing = {"x": x[:0], "lengths": lengths[:0], "h": h[:, :0], "c": c[:, :0]}
    assert answers(found, tmp_path, **nothing)[0].shape == (0, 41, 2)


@pytest.mark.filterwarnings("ignore:LSTM with projections", "ignore::FutureWarning")
def test_a_projection_that_is_normed_and_dropped_is_followed(tmp_path: Path) -> None:
    layer = nn.utils.weight_norm(nn.LSTM(8, 6, proj_size=3, batch_first=True), "weight_hr_l0")
    module = Doing(first, layer=AssignedWeights(layer))
    same(exported(module, X), module, tmp_path, torch.randn(3, 41, 8))
