"""Recurrent layers as ONNX LSTM, GRU and RNN nodes.

PyTorch's exporter freezes or unrolls recurrent layers and ignores lengths. Here each layer names the ONNX operator
itself (`torch.onnx.ops.symbolic_multi_out`), with weights in ONNX order; everything around it stays ordinary torch.
Equations and gate orders: ONNX operators LSTM-14, GRU-14, RNN-14.
"""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from export.trace.scanned import ScannedLayer
from models.cells import CellKind, cell_of
from models.network.cells.stepped import SteppedLayers
from models.network.recurrent import RecurrentStack

OPERATOR_VERSION = 14
_Attribute = int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]


def reordered_gates(weight: Tensor, kind: CellKind) -> Tensor:
    """PyTorch's gate blocks in ONNX order.

    Args:
        weight: float [gates * hidden, ...], a weight or bias of one layer and direction.
        kind: the cell.

    Returns:
        The same shape, gate blocks permuted.
    """
    order = cell_of(kind).onnx_order
    blocks = weight.chunk(len(order), dim=0)
    return torch.cat([blocks[gate] for gate in order], dim=0)


def onnx_weights(kind: CellKind, directions: Sequence[Sequence[Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """One layer's weights as an ONNX node takes them.

    Args:
        kind: the cell.
        directions: of each direction weight_ih, weight_hh and, where the layer has biases, bias_ih and bias_hh.

    Returns:
        W [directions, gates * hidden, input], R [directions, gates * hidden, hidden] and
        B [directions, 2 * gates * hidden], zeros where there are no biases.
    """
    ordered = [[reordered_gates(weight, kind) for weight in weights] for weights in directions]
    biases = [
        torch.cat(own[2:]) if len(own) > 2 else own[0].new_zeros(2 * own[0].shape[0])  # of both products
        for own in ordered
    ]
    return torch.stack([own[0] for own in ordered]), torch.stack([own[1] for own in ordered]), torch.stack(biases)


def recurrent_node(
    kind: CellKind,
    weights: tuple[Tensor, Tensor, Tensor],
    inputs: Tensor,
    states: Sequence[Tensor],
    lengths: Tensor | None,
    *,
    is_reverse: bool = False,
) -> tuple[Tensor, ...]:
    """Emit the node of one layer. Time-major, as the operators are.

    Args:
        kind: the cell.
        weights: see onnx_weights.
        inputs: float [time, batch, input_size].
        states: h, or h and c, each float [directions, batch, hidden_size].
        lengths: int32 [batch], or None when every row is full.
        is_reverse: whether a layer of one direction reads from the last step to the first.

    Returns:
        outputs [time, batch, directions * hidden_size], zero past the lengths, then the final states as given.
    """
    time, batch = inputs.shape[0], inputs.shape[1]
    num_directions, _, hidden_size = weights[1].shape
    one_direction = "reverse" if is_reverse else "forward"
    attributes: dict[str, _Attribute] = {"hidden_size": hidden_size}
    attributes["direction"] = "bidirectional" if num_directions == 2 else one_direction
    if kind == "gru":
        attributes["linear_before_reset"] = 1
    if kind == "rnn-relu":
        attributes["activations"] = ["Relu"] * num_directions
    shape = (num_directions, batch, hidden_size)
    operator = cell_of(kind).onnx_operator
    assert operator is not None, "a traced cell has layers of its own (export.trace.scanned)"
    outputs, *final = torch.onnx.ops.symbolic_multi_out(
        operator,
        (inputs, *weights, lengths, *states),
        attributes,
        dtypes=(inputs.dtype,) * (1 + len(states)),
        shapes=((time, *shape), *(shape for _ in states)),
        version=OPERATOR_VERSION,
    )
    if num_directions == 1:
        return (outputs.squeeze(1), *final)
    return (outputs.permute(0, 2, 1, 3).reshape(time, batch, -1), *final)


class OnnxRecurrentLayer(nn.Module):
    """One layer, one or both directions, as one ONNX node, its weights in ONNX order as buffers.

    Args:
        layers: the PyTorch module that holds the layer.
        index: which layer.
        kind: the cell.
    """

    input_weight: Tensor
    recurrent_weight: Tensor
    bias: Tensor

    def __init__(self, layers: nn.RNNBase, index: int, kind: CellKind) -> None:
        super().__init__()
        self.kind = kind
        names = [name for name in layers._flat_weights_names if name.endswith((f"_l{index}", f"_l{index}_reverse"))]
        own = [getattr(layers, name).detach() for name in names]
        half = len(own) // 2
        directions = [own[:half], own[half:]] if layers.bidirectional else [own]
        for name, value in zip(
            ("input_weight", "recurrent_weight", "bias"), onnx_weights(kind, directions), strict=True
        ):
            self.register_buffer(name, value)

    def forward(self, inputs: Tensor, states: tuple[Tensor, ...], lengths: Tensor | None) -> tuple[Tensor, ...]:
        """As recurrent_node."""
        return recurrent_node(self.kind, (self.input_weight, self.recurrent_weight, self.bias), inputs, states, lengths)


class OnnxRecurrentStack(nn.Module):
    """Takes the place of a RecurrentStack in a model that is to be exported; same arguments, same results."""

    def __init__(self, stack: RecurrentStack) -> None:
        super().__init__()
        self.config = stack.config
        layers = stack.layers
        self.layers = nn.ModuleList(
            ScannedLayer(layers, index)
            if isinstance(layers, SteppedLayers)
            else OnnxRecurrentLayer(layers, index, stack.config.kind)
            for index in range(stack.config.num_layers)
        )

    def zero_state(self, batch: int) -> Tensor:
        """As RecurrentStack.zero_state."""
        return next(chain(self.buffers(), self.parameters())).new_zeros(batch, self.config.state_size)

    def forward(self, inputs: Tensor, state: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As RecurrentStack.forward: inputs [batch, time, input_size], state [batch, D] -> outputs, new_state."""
        outputs = inputs.transpose(0, 1)
        directions = self.config.num_directions
        num_columns = self.config.num_layers * directions
        widths = [width for width in self.config.state_widths for _ in range(num_columns)]
        columns = torch.split(state, widths, dim=1)  # h of each layer and direction, then c of each
        final: list[list[Tensor]] = [[] for _ in self.config.state_names]
        for index, layer in enumerate(self.layers):
            states = tuple(
                torch.stack(columns[part * num_columns + index * directions :][:directions])
                for part in range(len(self.config.state_names))
            )
            outputs, *after = layer(outputs, states, lengths)
            for part, values in enumerate(after):
                final[part].extend(values.unbind(0) if directions > 1 else (values.squeeze(0),))
        new_state = torch.cat([column for part in final for column in part], dim=1)
        return outputs.transpose(0, 1), new_state
