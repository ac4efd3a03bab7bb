"""A cell that rnnserve does not have: the minimal gated unit (Zhou et al. 2016, equations 9 and 10)."""

import torch
from torch import Tensor, nn

from models.cells import Cell
from models.network.cells.stepped import register_cell


class MinimalGatedUnit(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.gate = nn.Linear(input_size + hidden_size, hidden_size)
        self.candidate = nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor]:
        forget = torch.sigmoid(self.gate(torch.cat([inputs, hidden], dim=1)))
        candidate = torch.tanh(self.candidate(torch.cat([inputs, forget * hidden], dim=1)))
        return (hidden + forget * (candidate - hidden),)


register_cell(Cell("minimal-gated"), MinimalGatedUnit)
