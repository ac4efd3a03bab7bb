"""One recurrent stack for every cell kind, direction and depth, exact on padded batches and with carried state."""

import torch
from torch import Tensor, nn
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
            row's last input (for the backward direction: after its first).
        """
        total = inputs.shape[1]
        if isinstance(self.layers, SteppedLayers):
            outputs, final = self.layers(inputs, self._parts(state), lengths)
        elif lengths is None:
            outputs, final = self.layers(inputs, self._unrowed(state))
        else:
            packed = pack_padded_sequence(inputs, lengths.cpu().long(), batch_first=True, enforce_sorted=False)
            packed_outputs, final = self.layers(packed, self._unrowed(state))
            outputs, _ = pad_packed_sequence(packed_outputs, batch_first=True, total_length=total)
        return outputs, self._rowed(final)

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
