"""Cells in Python loops of a fixed number of steps."""

import torch
from torch import Tensor, nn


class FiveSteps(nn.Module):
    """Every kind of cell, one after the other; states given and not given."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTMCell(8, 8)
        self.gru = nn.GRUCell(8, 8, bias=False)
        self.relu = nn.RNNCell(8, 8, nonlinearity="relu")
        self.tanh = nn.RNNCell(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        state = (x.new_zeros(x.size(0), 8), x.new_zeros(x.size(0), 8))
        gated = None
        outputs = []
        for _ in range(5):
            state = self.lstm(x, state)
            gated = self.gru(state[0], gated)
            x = self.tanh(self.relu(gated))
            outputs.append(x)
        return torch.stack(outputs, dim=1)


class Window(nn.Module):
    """A cell over a window of six steps, whose axis is declared as a number."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        hidden = cell = torch.zeros(x.shape[0], 8)
        for step in range(x.shape[1]):
            hidden, cell = self.cell(x[:, step], (hidden, cell))
        return hidden
