"""Forwards that take and give states in tuples."""

import torch
from torch import Tensor, nn

States = tuple[Tensor, Tensor]


class HiddenLstm(nn.Module):
    """forward(x, hidden=None) -> (out, (h, c))."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, num_layers=2, batch_first=True)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor, hidden: States | None = None) -> tuple[Tensor, States]:
        out, hidden = self.lstm(x, hidden)
        return self.fc(out), hidden


class ZoneoutCell(nn.Module):
    """forward(x, (h, c)) -> (h, c): a cell whose states are kept now and then in training, in eval mode in the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(8, 6)
        self.keep = 0.1

    def forward(self, x: Tensor, hidden: States) -> States:
        h, c = (self._kept(old, new) for old, new in zip(hidden, self.cell(x, hidden), strict=True))
        return h, c

    def _kept(self, old: Tensor, new: Tensor) -> Tensor:
        if self.training:
            return torch.where(torch.rand_like(new) < self.keep, old, new)
        return self.keep * old + (1 - self.keep) * new


class StatesOfLayers(nn.Module):
    """forward(x, [(h, c), (h, c)]), a state for each layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.LSTM(8, 8, batch_first=True), nn.LSTM(8, 8, batch_first=True)])

    def forward(self, x: Tensor, states: tuple[States, States]) -> tuple[Tensor, list[States]]:
        after = []
        for layer, state in zip(self.layers, states, strict=True):
            x, state = layer(x, state)
            after.append(state)
        return x, after
