"""nn.RNN, nn.LSTM and nn.GRU inside a user's module, each layer as one ONNX node.

The layers themselves stay as they are; only the kernels that they call, `torch._VF.lstm` and its siblings, are replaced
while a module is traced. A kernel is given the very weights that PyTorch would compute with, so whatever makes them is
followed: weight drop, a layer called by a forward of its own, `torch.func.functional_call`. Cells (nn.LSTMCell and the
others) are ordinary products and need no replacement.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import statically_known_true, sym_eq

from export.trace.recurrent import onnx_weights, recurrent_node
from export.user_module.packing import Packings
from models.cells import CellKind

KIND_OF_MODE: dict[str, CellKind] = {"RNN_TANH": "rnn-tanh", "RNN_RELU": "rnn-relu", "LSTM": "lstm", "GRU": "gru"}
_States = tuple[Tensor, ...]
_ENDS: ContextVar[tuple[Tensor, int | torch.SymInt] | None] = ContextVar("ends", default=None)


@contextmanager
def in_place_of_kernels(packings: Packings) -> Iterator[None]:
    """While open, recurrent layers name ONNX operators, and torch packs and pads through the packings."""
    kernels = vars(torch._VF)  # without these names until now: it hands them on to the kernels
    own = {mode.lower(): partial(_kernel, packings, kind) for mode, kind in KIND_OF_MODE.items()}
    checks = {layer: layer.check_forward_args for layer in (nn.RNNBase, nn.LSTM)}
    kernels.update(own)
    for layer in checks:
        layer.check_forward_args = _unchecked  # type: ignore[assignment, method-assign]
    try:
        with packings.in_place_of_kernels():
            yield
    finally:
        for layer, check in checks.items():
            layer.check_forward_args = check  # type: ignore[method-assign]
        for name in own:
            del kernels[name]


@contextmanager
def rows_end_at(lengths: Tensor, time: int | torch.SymInt) -> Iterator[None]:
    """While open, recurrent layers of a traced forward that knows no lengths end each row at its own.

    Args:
        lengths: int32 [batch].
        time: the padded length of what a layer reads, for it to be of these rows.
    """
    token = _ENDS.set((lengths, time))
    try:
        yield
    finally:
        _ENDS.reset(token)


def _unchecked(*_: Any) -> None:
    """PyTorch has checked the shapes in the run before; here it would make a number of the batch's size."""


def _kernel(packings: Packings, kind: CellKind, inputs: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    """As torch._VF.lstm, gru, rnn_tanh and rnn_relu, of a batch that is packed or padded.

    Arguments after the inputs are states, weights, has_biases, num_layers, dropout, training, is_bidirectional and
    batch_first; of a packed batch batch_sizes, states and so on, without batch_first.
    """
    is_packed = not isinstance(arguments[2], bool)
    states, weights, has_biases, num_layers, _, _, is_bidirectional = arguments[is_packed:][:7]
    states = tuple(states) if kind == "lstm" else (states,)
    directions = 2 if is_bidirectional else 1
    size = len(weights) // (num_layers * directions)
    layers = [
        [weights[(layer * directions + direction) * size :][:size] for direction in range(directions)]
        for layer in range(num_layers)
    ]
    run = partial(_run, kind, layers, has_projection=size == (5 if has_biases else 3))
    if is_packed:
        batch_sizes = arguments[0]
        values, lengths = packings.padded(inputs, batch_sizes)
        outputs, final = run(values, states, lengths.to(torch.int32))
        return packings.packed(outputs, batch_sizes), *final
    batch_first = arguments[7]
    values = inputs.transpose(0, 1) if batch_first else inputs
    outputs, final = run(values, states, _ends(values.shape[0]))
    return (outputs.transpose(0, 1) if batch_first else outputs), *final


def _ends(time: int | torch.SymInt) -> Tensor | None:
    """Lengths int32 [batch] of padded rows of this time; None where every row is full, as those of one step are."""
    ends = _ENDS.get()
    if ends is None or statically_known_true(sym_eq(time, 1)) or not statically_known_true(sym_eq(time, ends[1])):
        return None
    return ends[0]


def _run(
    kind: CellKind,
    layers: Sequence[Sequence[Sequence[Tensor]]],
    values: Tensor,
    states: _States,
    lengths: Tensor | None,
    *,
    has_projection: bool,
) -> tuple[Tensor, _States]:
    """All layers, time-major.

    Args:
        kind: the cell.
        layers: the weights of each layer and direction.
        values: float [time, batch, input_size].
        states: [layers * directions, batch, hidden_size or proj_size] each.
        lengths: int32 [batch], or None when every row is full.
        has_projection: whether the last weight of each direction projects h.

    Returns:
        outputs [time, batch, directions * hidden_size or proj_size] and the final states in the given form.
    """
    finals: list[_States] = []
    for index, directions in enumerate(layers):
        own = tuple(state[index * len(directions) : (index + 1) * len(directions)] for state in states)
        if has_projection:
            values, *final = _projected(directions, values, own, lengths)
        else:
            values, *final = recurrent_node(kind, onnx_weights(kind, directions), values, own, lengths)
        finals.append(tuple(final))
    return values, tuple(torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*finals, strict=True))


def _projected(
    directions: Sequence[Sequence[Tensor]], values: Tensor, states: _States, lengths: Tensor | None
) -> tuple[Tensor, ...]:
    """An LSTM layer with projections (LSTMP, Sak et al. 2014, section 2), which ONNX does not know, by one without.

    There h = W_hr m, with m = o * tanh(c), so W_hh h is (W_hh W_hr) m: an LSTM whose h is m, projected afterwards. The
    h before the first step is no such product; it is an input of that step, with W_hh as its weight.

    Args:
        directions: of each weight_ih, weight_hh, bias_ih and bias_hh if it has biases, and weight_hr.
        values: float [time, batch, input_size].
        states: h [directions, batch, proj_size] and c [directions, batch, hidden_size].
        lengths: int32 [batch], or None when every row is full.

    Returns:
        outputs [time, batch, directions * proj_size], zero past the lengths, then h and c.
    """
    steps = torch.arange(values.shape[0], dtype=torch.int32).unsqueeze(1)
    outputs, finals = [], []
    for number, (weight_ih, weight_hh, *biases, weight_hr) in enumerate(directions):
        h, c = (state[number : number + 1] for state in states)
        is_reverse = number == 1
        first = steps[:1] if not is_reverse else steps[-1:] if lengths is None else lengths.unsqueeze(0) - 1
        before = torch.where((steps == first).unsqueeze(2), h, 0.0)
        weight = torch.cat([weight_ih, weight_hh], dim=1)
        product = (weight_hh.double() @ weight_hr.double()).to(weight_hh.dtype)
        output, final, cell = recurrent_node(
            "lstm",
            onnx_weights("lstm", [(weight, product, *biases)]),
            torch.cat([values, before], dim=2),
            (torch.zeros_like(c), c),
            lengths,
            is_reverse=is_reverse,
        )
        outputs.append(output @ weight_hr.T)
        finals.append((final @ weight_hr.T, cell))
    return torch.cat(outputs, dim=2), *(torch.cat(parts) for parts in zip(*finals, strict=True))
