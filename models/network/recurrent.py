"""One recurrent stack for every cell kind, direction and depth, exact on padded batches and with carried state."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.cells import CELL_KINDS
from models.config import RecurrentConfig
from models.network.cells.stepped import SteppedLayers


class RecurrentStack(nn.Module):
    """nn.RNN, nn.LSTM, nn.GRU or a registered cell with its state as one row of numbers (models.config).

    Args:
        config: kind, sizes, depth, directions, dropout between layers.
    """

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = _layers(config)

    def zero_state(self, batch: int) -> Tensor:
        """The initial state: zeros, [batch, D], in the parameters' dtype and on their device."""
        parameter = next(self.parameters())
        return parameter.new_zeros(batch, self.config.state_size)

    def forward(self, inputs: Tensor, state: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run the stack over a batch.

        Args:
            inputs: float [batch, time, input_size]; what lies past lengths[i] is ignored.
            state: float [batch, D], each row the state before the row's first input.
            lengths: int [batch], each 1..time; None when every row is full.

        Returns:
            outputs [batch, time, output_size], zero past lengths[i], and new_state [batch, D], the state after each
            row's last input (for the backward direction: after its first). In training with lengths an LSTM's c is NaN
            there: nothing learns from it.
        """
        total = inputs.shape[1]
        if isinstance(self.layers, SteppedLayers):
            outputs, final = self.layers(inputs, self._parts(state), lengths)
        elif lengths is None:
            outputs, final = self.layers(inputs, self._unrowed(state))
        elif self.training:
            outputs, final = self._by_layer(self.layers, inputs, self._parts(state), lengths)
        else:
            packed = pack_padded_sequence(inputs, lengths.cpu().long(), batch_first=True, enforce_sorted=False)
            packed_outputs, final = self.layers(packed, self._unrowed(state))
            outputs, _ = pad_packed_sequence(packed_outputs, batch_first=True, total_length=total)
        return outputs, self._rowed(final)

    def _by_layer(
        self, layers: nn.RNNBase, inputs: Tensor, parts: tuple[Tensor, ...], lengths: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """PyTorch's layers one at a time, as nn.LSTM and its siblings run them together."""
        directions = self.config.num_directions
        finals = []
        for number in range(self.config.num_layers):
            if number and layers.dropout:
                inputs = self._between_layers(inputs, layers.dropout)
            own = [part[number * directions : (number + 1) * directions].contiguous() for part in parts]
            inputs, *final = layer_over_rows(self.config.kind, inputs, own, self._weights(layers, number), lengths)
            finals.append(final)
        return inputs, tuple(torch.cat(part) for part in zip(*finals, strict=True))

    def _between_layers(self, outputs: Tensor, share: float) -> Tensor:
        """Dropout of what a layer gives to the next."""
        return dropout(outputs, share, self.training)

    def _weights(self, layers: nn.RNNBase, number: int) -> list[list[Tensor]]:
        """Of each direction of a layer: W_ih, W_hh, b_ih, b_hh."""
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        suffixes = ("", "_reverse")[: self.config.num_directions]
        return [[getattr(layers, f"{kind}_l{number}{suffix}") for kind in kinds] for suffix in suffixes]

    def _unrowed(self, state: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """[batch, D] -> h or (h, c), each [layers * directions, batch, hidden_size]."""
        parts = self._parts(state)
        return (parts[0], parts[1]) if len(parts) == 2 else parts[0]

    def _parts(self, state: Tensor) -> tuple[Tensor, ...]:
        """[batch, D] -> each part of the state, [layers * directions, batch, its width]."""
        copies = self.config.num_layers * self.config.num_directions
        columns = torch.split(state, [copies * width for width in self.config.state_widths], dim=1)
        return tuple(part.reshape(state.shape[0], copies, -1).transpose(0, 1).contiguous() for part in columns)

    def _rowed(self, final: Tensor | tuple[Tensor, ...]) -> Tensor:
        """The inverse of `_unrowed`."""
        parts = final if isinstance(final, tuple) else (final,)
        return torch.cat([part.transpose(0, 1).flatten(1) for part in parts], dim=1)


def layer_over_rows(
    kind: str, inputs: Tensor, states: Sequence[Tensor], weights: Sequence[list[Tensor]], lengths: Tensor | None
) -> tuple[Tensor, ...]:
    """One layer over rows of different lengths, for training: each direction runs over all steps of the padded batch.

    A packed batch costs time and memory by the square of its steps where gradients are computed, since the gradient of
    each step's slice is as large as the whole: 64 texts of 350 tokens take 30 times as long as here.

    Args:
        kind: rnn-tanh, rnn-relu, lstm or gru.
        inputs: float [batch, time, width]; what lies past lengths[i] does not count, but is finite.
        states: h, or h and c, each [directions, batch, hidden_size].
        weights: of each direction W_ih, W_hh, b_ih, b_hh.
        lengths: int [batch], each 1..time; None when every row is full.

    Returns:
        Outputs [batch, time, directions * hidden_size], zero past lengths[i], and the last states as `states`; with
        lengths only h is known, and c is NaN.
    """
    run = getattr(torch, kind.replace("-", "_"))  # torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu
    steps = torch.arange(inputs.shape[1], device=inputs.device).unsqueeze(0)
    ends = None if lengths is None else lengths.to(inputs.device).long().unsqueeze(1)
    valid = None if ends is None else (steps < ends).unsqueeze(2)
    found, finals = [], []
    for number, own in enumerate(weights):
        is_backward = number == 1
        order = steps.expand(len(inputs), -1)
        if is_backward:
            last = inputs.shape[1] if ends is None else ends
            order = torch.where(order < last, last - 1 - order, order)
        state = [part[number : number + 1].contiguous() for part in states]
        read = _in_order(inputs, order) if is_backward else inputs
        # with biases, one layer, no dropout, in training, one direction, batch first
        outputs, *final = run(read, state if len(state) > 1 else state[0], own, True, 1, 0.0, True, False, True)
        if ends is not None:
            h = outputs.gather(1, (ends - 1).unsqueeze(2).expand(-1, -1, outputs.shape[2])).transpose(0, 1)
            final = [h, *(torch.full_like(h, torch.nan) for _ in final[1:])]
        finals.append(final)
        outputs = _in_order(outputs, order) if is_backward else outputs
        found.append(outputs if valid is None else torch.where(valid, outputs, 0.0))
    return (torch.cat(found, dim=2), *(torch.cat(part) for part in zip(*finals, strict=True)))


def _in_order(rows: Tensor, order: Tensor) -> Tensor:
    """The steps of each row [batch, time, width] in another order, int64 [batch, time]."""
    return rows.gather(1, order.unsqueeze(2).expand(-1, -1, rows.shape[2]))


def _layers(config: RecurrentConfig) -> nn.RNNBase | SteppedLayers:
    if config.kind not in CELL_KINDS:
        return SteppedLayers(config)
    # PyTorch warns when it is asked for dropout between the layers of a single one.
    dropout = config.dropout if config.num_layers > 1 else 0.0
    shape = {
        "input_size": config.input_size,
        "hidden_size": config.hidden_size,
        "num_layers": config.num_layers,
        "batch_first": True,
        "dropout": dropout,
        "bidirectional": config.bidirectional,
    }
    if config.kind == "lstm":
        return nn.LSTM(**shape)
    if config.kind == "gru":
        return nn.GRU(**shape)
    return nn.RNN(**shape, nonlinearity="tanh" if config.kind == "rnn-tanh" else "relu")
