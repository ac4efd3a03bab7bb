"""Recurrent layers as ONNX LSTM, GRU and RNN nodes.

PyTorch's exporter freezes or unrolls recurrent layers and ignores lengths. Here each layer is replaced by a module that
names the ONNX operator itself (`torch.onnx.ops.symbolic_multi_out`), with weights already in ONNX order as buffers;
everything around it stays ordinary torch. Equations and gate orders: ONNX operators LSTM-14, GRU-14, RNN-14.
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


class OnnxRecurrentLayer(nn.Module):
    """One layer, one or both directions, as one ONNX node. Time-major, as the operators are.

    Args:
        layers: the PyTorch module that holds the layer.
        index: which layer.
        kind: the cell.
    """

    input_weight: Tensor  # W [directions, gates * hidden, input]
    recurrent_weight: Tensor  # R [directions, gates * hidden, hidden]
    bias: Tensor  # B [directions, 2 * gates * hidden]

    def __init__(self, layers: nn.RNNBase, index: int, kind: CellKind) -> None:
        super().__init__()
        self.kind = kind
        self.hidden_size = layers.hidden_size
        self.num_directions = 2 if layers.bidirectional else 1
        input_weights, recurrent_weights, biases = [], [], []
        for suffix in ("", "_reverse")[: self.num_directions]:
            names = (f"weight_ih_l{index}{suffix}", f"weight_hh_l{index}{suffix}")
            wx, wh = (reordered_gates(getattr(layers, name).detach(), kind) for name in names)
            input_weights.append(wx)
            recurrent_weights.append(wh)
            if layers.bias:
                names = (f"bias_ih_l{index}{suffix}", f"bias_hh_l{index}{suffix}")
                biases.append(torch.cat([reordered_gates(getattr(layers, name).detach(), kind) for name in names]))
            else:
                biases.append(wx.new_zeros(2 * wx.shape[0]))
        self.register_buffer("input_weight", torch.stack(input_weights))
        self.register_buffer(
            "recurrent_weight", torch.stack(recurrent_weights)
        )  # R [directions, gates * hidden, hidden]
        self.register_buffer("bias", torch.stack(biases))

    def forward(self, inputs: Tensor, states: tuple[Tensor, ...], lengths: Tensor | None) -> tuple[Tensor, ...]:
        """Emit the node.

        Args:
            inputs: float [time, batch, input_size].
            states: h, or h and c, each float [directions, batch, hidden_size].
            lengths: int32 [batch], or None when every row is full.

        Returns:
            outputs [time, batch, directions * hidden_size], zero past the lengths, then the final states as given.
        """
        time, batch = inputs.shape[0], inputs.shape[1]
        attributes: dict[str, _Attribute] = {"hidden_size": self.hidden_size}
        attributes["direction"] = "bidirectional" if self.num_directions == 2 else "forward"
        if self.kind == "gru":
            attributes["linear_before_reset"] = 1
        if self.kind == "rnn-relu":
            attributes["activations"] = ["Relu"] * self.num_directions
        shape = (self.num_directions, batch, self.hidden_size)
        operator = cell_of(self.kind).onnx_operator
        assert operator is not None, "a traced cell has layers of its own (export.trace.scanned)"
        outputs, *final = torch.onnx.ops.symbolic_multi_out(
            operator,
            (inputs, self.input_weight, self.recurrent_weight, self.bias, lengths, *states),
            attributes,
            dtypes=(inputs.dtype,) * (1 + len(states)),
            shapes=((time, *shape), *(shape for _ in states)),
            version=OPERATOR_VERSION,
        )
        if self.num_directions == 1:
            outputs = outputs.squeeze(1)
        else:
            outputs = outputs.permute(0, 2, 1, 3).reshape(time, batch, -1)
        return (outputs, *final)


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
        size, directions = self.config.hidden_size, self.config.num_directions
        columns = torch.split(state, size, dim=1)  # h of each layer and direction, then c of each
        num_columns = self.config.num_layers * directions
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
