"""nn.RNN, nn.LSTM and nn.GRU inside a user's module, each layer as one ONNX node; same arguments, same results.

The module keeps its class, its parameters and its other methods, so whatever else a user's forward reads of it stays;
only what a call computes is replaced. Cells (nn.LSTMCell and the others) are ordinary products and need no replacement.
"""

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from export.trace.recurrent import OnnxRecurrentLayer
from export.user_module.packing import Packings
from models.cells import CellKind
from models.errors import UnsupportedModelError

KIND_OF_MODE: dict[str, CellKind] = {"RNN_TANH": "rnn-tanh", "RNN_RELU": "rnn-relu", "LSTM": "lstm", "GRU": "gru"}
_States = Tensor | tuple[Tensor, Tensor]


def replace_forward(name: str, module: nn.RNNBase, packings: Packings) -> None:
    """Let a recurrent module name ONNX operators when it is called.

    Args:
        name: the module's name in the tree, for messages.
        module: one that export.user_module.refusals lets pass; changed in place.
        packings: the packed batches of the trace.
    """
    layers = [OnnxRecurrentLayer(module, index, KIND_OF_MODE[module.mode]) for index in range(module.num_layers)]
    module.onnx_layers = nn.ModuleList(layers)
    module.forward = partial(_forward, module, name, packings)


def _forward(
    module: nn.RNNBase,
    name: str,
    packings: Packings,
    input: Tensor | PackedSequence,  # noqa: A002
    hx: _States | None = None,
) -> tuple[Tensor | PackedSequence, _States]:
    """As nn.LSTM.forward and its siblings; names of arguments are theirs."""
    if isinstance(input, PackedSequence):
        values, lengths = packings.padded(input)
        outputs, final = _run(module, values, _permuted(module, hx, input.sorted_indices), lengths)
        return packings.repacked(input, outputs), _permuted(module, final, input.unsorted_indices)  # type: ignore[return-value]
    if input.dim() != 3:
        raise UnsupportedModelError(
            f"Layer {name} ({type(module).__name__}) is given {input.dim()} axes, without a batch; a graph's recurrent "
            "layers take [time, batch, width] or, with batch_first, [batch, time, width]. "
            "Give it a batch of one: x.unsqueeze(1), or x.unsqueeze(0) with batch_first."
        )
    outputs, final = _run(module, input.transpose(0, 1) if module.batch_first else input, hx, None)
    return (outputs.transpose(0, 1) if module.batch_first else outputs), final


def _run(module: nn.RNNBase, values: Tensor, hx: _States | None, lengths: Tensor | None) -> tuple[Tensor, _States]:
    """All layers, time-major.

    Args:
        module: the recurrent module.
        values: float [time, batch, input_size].
        hx: initial states as the module takes them, [layers * directions, batch, hidden_size] each, or None for zeros.
        lengths: int64 [batch], or None when every row is full.

    Returns:
        outputs [time, batch, directions * hidden_size] and the final states in hx's form.
    """
    is_lstm = module.mode == "LSTM"
    directions = 2 if module.bidirectional else 1
    if hx is None:
        zeros = values.new_zeros(module.num_layers * directions, values.shape[1], module.hidden_size)
        states: tuple[Tensor, ...] = (zeros, zeros) if is_lstm else (zeros,)
    else:
        states = tuple(hx) if is_lstm else (hx,)  # type: ignore[assignment]
    lengths = None if lengths is None else lengths.to(torch.int32)
    finals: list[tuple[Tensor, ...]] = []
    outputs = values
    for index, layer in enumerate(cast("nn.ModuleList", module.onnx_layers)):
        own = tuple(state[index * directions : (index + 1) * directions] for state in states)
        outputs, *final = layer(outputs, own, lengths)
        finals.append(tuple(final))
    joined = tuple(torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*finals, strict=True))
    return outputs, ((joined[0], joined[1]) if is_lstm else joined[0])


def _permuted(module: nn.RNNBase, states: _States | None, rows: Tensor | None) -> _States | None:
    """States with their batch axis in another order of rows, as the module itself does it."""
    if states is None:
        return None
    permuted: _States = module.permute_hidden(states, rows)  # type: ignore[arg-type]
    return permuted
