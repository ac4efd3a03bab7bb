"""nn.RNN, nn.LSTM and nn.GRU inside a step that is repeated, as products: a Scan's body names no recurrent operator."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.user_module.stepped import Steps
from models.errors import UnsupportedModelError

_OWN_FORWARDS = (nn.RNN.forward, nn.LSTM.forward, nn.GRU.forward)
MOST_STEPS = 16  # frames that a step may give a layer at once
_States = Tensor | tuple[Tensor, Tensor]


def with_products_in_steps(module: nn.Module) -> None:
    """Let recurrent layers be products wherever they are called within a step.

    Args:
        module: a copy of the user's, to be traced; changed in place.
    """
    in_steps = {inner for part in module.modules() if isinstance(part, Steps) for inner in part.modules()}
    for name, part in module.named_modules():
        if isinstance(part, nn.RNNBase) and type(part).forward in _OWN_FORWARDS and "forward" not in vars(part):
            forward = partial(_forward, part, name or "the module itself", part in in_steps)
            object.__setattr__(part, "forward", forward)


def _forward(
    module: nn.RNNBase,
    name: str,
    is_in_steps: bool,
    input: Any,  # noqa: A002
    hx: _States | None = None,
) -> Any:
    """As nn.LSTM.forward and its siblings; names of arguments are theirs."""
    # The step of a module, and what torch's scan repeats: there the compiler looks, which knows no ONNX operators.
    if not (is_in_steps or torch.compiler.is_dynamo_compiling()) or not isinstance(input, Tensor):
        return type(module).forward(module, input, hx)
    has_batch, batch_axis = input.dim() == 3, 0 if module.batch_first else 1
    values = input if has_batch else input.unsqueeze(batch_axis)
    values = values.transpose(0, 1) if module.batch_first else values
    is_lstm, directions = module.mode == "LSTM", 2 if module.bidirectional else 1
    if hx is None:
        shape = (module.num_layers * directions, values.shape[1])
        zeros = values.new_zeros(*shape, module.hidden_size)
        h = values.new_zeros(*shape, module.proj_size) if module.proj_size else zeros
        states: tuple[Tensor, ...] = (h, zeros) if is_lstm else (zeros,)
    else:
        states = tuple(hx) if is_lstm else (hx,)  # type: ignore[assignment]
        states = states if has_batch else tuple(state.unsqueeze(1) for state in states)
    outputs, final = _in_products(module, name, values, states)
    outputs = outputs.transpose(0, 1) if module.batch_first else outputs
    if not has_batch:
        outputs, final = outputs.squeeze(batch_axis), tuple(state.squeeze(1) for state in final)
    return outputs, (final if is_lstm else final[0])


def _lstm(x: Tensor, states: tuple[Tensor, ...], weights: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    weight_ih, weight_hh, bias_ih, bias_hh, weight_hr = weights
    assert weight_ih is not None
    assert weight_hh is not None
    i, f, g, o = (F.linear(x, weight_ih, bias_ih) + F.linear(states[0], weight_hh, bias_hh)).chunk(4, dim=1)
    cell = f.sigmoid() * states[1] + i.sigmoid() * g.tanh()
    hidden = o.sigmoid() * cell.tanh()
    return (hidden if weight_hr is None else hidden @ weight_hr.T), cell


def _one_state(cell: Callable[..., Tensor], x: Tensor, states: tuple[Tensor, ...], weights: Any) -> tuple[Tensor, ...]:
    return (cell(x, states[0], *weights[:4]),)


_CELLS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "LSTM": _lstm,
    "GRU": partial(_one_state, torch.gru_cell),
    "RNN_TANH": partial(_one_state, torch.rnn_tanh_cell),
    "RNN_RELU": partial(_one_state, torch.rnn_relu_cell),
}


def _in_products(
    module: nn.RNNBase, name: str, values: Tensor, states: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All layers over a few frames.

    Args:
        module: the recurrent module.
        name: its name in the tree, for the message.
        values: float [time, batch, input_size], time a number.
        states: h, or h and c, each float [layers * directions, batch, hidden_size or proj_size].

    Returns:
        outputs [time, batch, directions * hidden_size or proj_size] and the final states as given.

    Raises:
        UnsupportedModelError: there are many frames, or their number is free.
    """
    if not isinstance(values.shape[0], int) or values.shape[0] > MOST_STEPS:
        raise UnsupportedModelError(
            f"Layer {name} ({type(module).__name__}) reads {values.shape[0]} frames inside a step that is itself "
            f"repeated over time; at most {MOST_STEPS}. Call it once on the whole sequence, before the steps."
        )
    cell, directions = _CELLS[module.mode], 2 if module.bidirectional else 1
    finals: list[tuple[Tensor, ...]] = []
    for index in range(module.num_layers):
        outputs = []
        for direction, suffix in enumerate(("", "_reverse")[:directions]):
            names = [
                f"{part}_l{index}{suffix}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
            ]
            weights = [getattr(module, each, None) for each in names]
            own, found = tuple(state[index * directions + direction] for state in states), []
            for frame in values.unbind(0)[:: -1 if direction else 1]:
                own = cell(frame, own, weights)
                found.append(own[0])
            outputs.append(torch.stack(found[:: -1 if direction else 1]))
            finals.append(own)
        values = torch.cat(outputs, dim=2) if directions > 1 else outputs[0]
    return values, tuple(torch.stack(parts) for parts in zip(*finals, strict=True))
