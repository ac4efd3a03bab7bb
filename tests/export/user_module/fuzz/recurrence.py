"""Recurrent stages of drawn modules: layers, packed or not, their weights plain or computed, and cells."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.config import RecurrentConfig
from models.network.recurrent import RecurrentStack
from tests.export.user_module.fuzz.drawn import WIDTH, Given, Stage
from tests.export.user_module.modules.weight_drops import AssignedWeights


def drawn_layer(draw: random.Random, *, is_packed: bool = False) -> Stage:
    kind = draw.choice([nn.LSTM, nn.GRU, nn.RNN])
    options: dict[str, Any] = {"num_layers": draw.choice([1, 1, 2]), "bias": draw.random() < 0.85}
    is_both = draw.random() < 0.4
    if kind is nn.RNN:
        options["nonlinearity"] = draw.choice(["tanh", "relu"])
    width = WIDTH // 2 if is_both else WIDTH
    weights = draw.choice(["plain", "plain", "plain", "plain", "projected", *_COMPUTED])
    if weights == "projected" and kind is nn.LSTM:
        layer: nn.RNNBase = nn.LSTM(
            WIDTH, width + 3, batch_first=True, bidirectional=is_both, proj_size=width, **options
        )
    else:
        layer = kind(WIDTH, width, batch_first=True, bidirectional=is_both, **options)
    name = f"{kind.__name__}{' both ways' if is_both else ''} of {options['num_layers']}, {weights}"
    layers: dict[str, nn.Module] = {"layer": _COMPUTED[weights](layer) if weights in _COMPUTED else layer}
    if draw.random() < 0.3:  # a learnt initial state
        widths = {"h": width, "c": layer.hidden_size} if kind is nn.LSTM else {"h": width}
        start = {state: torch.randn(layer.num_layers * (1 + is_both), 1, size) for state, size in widths.items()}
        layers["start"] = nn.ParameterDict(start)
        name += " from a learnt state"
    return Stage(f"packed {name}" if is_packed else name, _packed_run if is_packed else _run, layers)


_COMPUTED: dict[str, Callable[[nn.RNNBase], nn.Module]] = {
    "weight norm": lambda layer: parametrizations.weight_norm(layer, "weight_hh_l0"),
    "spectral norm": lambda layer: parametrizations.spectral_norm(layer, "weight_ih_l0"),
    "weight drop": AssignedWeights,
}


def _start(own: nn.ModuleDict, x: Tensor) -> Any:
    if "start" not in own:
        return None
    start: Any = own["start"]  # h, then c of an LSTM
    states = [start[name].expand(-1, x.size(0), -1).contiguous() for name in sorted(start.keys(), reverse=True)]
    return tuple(states) if len(states) > 1 else states[0]


def _run(own: nn.ModuleDict, given: Given, x: Tensor) -> Tensor:
    outputs: Tensor = own["layer"](x, _start(own, x))[0]
    return outputs


def _packed_run(own: nn.ModuleDict, given: Given, x: Tensor) -> Tensor:
    assert given.lengths is not None
    packed = pack_padded_sequence(x, given.lengths.cpu(), batch_first=True, enforce_sorted=False)
    outputs, _ = own["layer"](packed, _start(own, x))
    padded: Tensor = pad_packed_sequence(outputs, batch_first=True, total_length=x.size(1))[0]
    return padded


def _packed(draw: random.Random) -> Stage:
    return drawn_layer(draw, is_packed=True)


def _last_state(draw: random.Random) -> Stage:
    def run(own: nn.ModuleDict, given: Given, x: Tensor) -> Tensor:
        outputs, states = own["layer"](x)
        last = states[0] if isinstance(states, tuple) else states
        repeated: Tensor = outputs + last[-1].unsqueeze(1)
        return repeated

    kind = draw.choice([nn.LSTM, nn.GRU, nn.RNN])
    return Stage(
        f"{kind.__name__} and its last state at every step", run, {"layer": kind(WIDTH, WIDTH, batch_first=True)}
    )


def _cells(draw: random.Random) -> Stage:
    kind = draw.choice([nn.LSTMCell, nn.GRUCell, nn.RNNCell])

    def run(own: nn.ModuleDict, given: Given, x: Tensor) -> Tensor:
        state: Any = None
        outputs = []
        for step in range(3):
            state = own["cell"](x[:, step], state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outputs, 1)

    cell = kind(WIDTH, WIDTH)
    return Stage(f"{kind.__name__} over 3 steps", run, {"cell": cell}, keeps_time=False)


def _stack(draw: random.Random) -> Stage:
    kind = draw.choice(["lstm", "gru", "rnn-tanh", "rnn-relu"])
    config = RecurrentConfig(kind=kind, input_size=WIDTH, hidden_size=WIDTH, num_layers=draw.choice([1, 2]))

    def run(own: nn.ModuleDict, given: Given, x: Tensor) -> Tensor:
        outputs: Tensor = own["stack"](x, own["stack"].zero_state(x.size(0)))[0]  # type: ignore[operator]
        return outputs

    return Stage(f"RecurrentStack {kind}", run, {"stack": RecurrentStack(config)})


RECURRENT: Sequence[Callable[[random.Random], Stage]] = (
    *(drawn_layer, drawn_layer, drawn_layer, _packed, _packed, _last_state, _cells, _stack),
)
