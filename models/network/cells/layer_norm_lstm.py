"""The LSTM with layer normalisation (Ba et al. 2016, equations 20 to 22)."""

import torch
from torch import Tensor, nn


class LayerNormLstm(nn.Module):
    """One step; the input's and the state's gates are normalised apart, and the cell where it is put out.

    Args:
        input_size: width of the inputs.
        hidden_size: width of the states.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.from_input = nn.Linear(input_size, 4 * hidden_size, bias=False)
        self.from_state = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.norm_input, self.norm_state = nn.LayerNorm(4 * hidden_size), nn.LayerNorm(4 * hidden_size)
        self.norm_cell = nn.LayerNorm(hidden_size)
        nn.init.constant_(self.norm_input.bias[hidden_size : 2 * hidden_size], 1.0)  # it begins by remembering

    def forward(self, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs [batch, input], hidden and cell [batch, hidden] -> the new ones."""
        gates = self.norm_input(self.from_input(inputs)) + self.norm_state(self.from_state(hidden))
        i, f, g, o = gates.chunk(4, dim=1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(self.norm_cell(cell)), cell
