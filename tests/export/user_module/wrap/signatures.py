"""Language models with the signatures of tutorials, and layers whose weights are computed or projected."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tests.export.user_module.modules.weight_drops import AssignedWeights
from tests.export.user_module.wrap.user_modules import V, unsorted

States = tuple[Tensor, Tensor]


class HiddenLM(nn.Module):
    """forward(x, hidden=None) -> (out, (h, c)), as most tutorials have it."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, 16)
        self.lstm: nn.Module = nn.LSTM(16, 24, num_layers=2, batch_first=True, dropout=0.2)
        self.fc = nn.Linear(width, V)

    def forward(self, x: Tensor, hidden: States | None = None) -> tuple[Tensor, States]:
        out, hidden = self.lstm(self.embedding(x), hidden)
        return self.fc(out), hidden


class NormedHiddenLM(HiddenLM):
    """The same, not native."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(24)
        self.gru = nn.GRU(24, 24, batch_first=True)

    def forward(self, x: Tensor, hidden: Any = None) -> Any:
        states, above = (None, None) if hidden is None else hidden
        out, states = self.lstm(self.embedding(x), states)
        read, above = self.gru(self.norm(out), above)
        return self.fc(read + out), (states, above)


class LastLogitsLM(HiddenLM):
    """Logits after the last token alone."""

    def forward(self, x: Tensor, hidden: States | None = None) -> tuple[Tensor, States]:
        logits, hidden = super().forward(x, hidden)
        return logits[:, -1], hidden


class NormedLastLogitsLM(NormedHiddenLM):
    """The same, not native."""

    def forward(self, x: Tensor, hidden: Any = None) -> Any:
        logits, hidden = super().forward(x, hidden)
        return logits[:, -1], hidden


class ProjectedLM(HiddenLM):
    def __init__(self) -> None:
        super().__init__(8)
        self.lstm = nn.LSTM(16, 24, num_layers=2, batch_first=True, proj_size=8)


class WeightNormedLM(HiddenLM):
    """Lengths and one argument for both states."""

    def __init__(self) -> None:
        super().__init__()
        parametrizations.weight_norm(self.lstm, "weight_hh_l0")
        parametrizations.spectral_norm(self.lstm, "weight_hh_l1")

    def forward(self, ids: Tensor, lengths: Tensor, hidden: States | None = None) -> tuple[Tensor, States]:  # type: ignore[override]
        out, hidden = unsorted(self.lstm, self.embedding(ids), lengths, hidden)
        return self.fc(out), hidden


class WeightDroppedLM(HiddenLM):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = AssignedWeights(nn.LSTM(16, 24, num_layers=2, batch_first=True))


class BackwardsLM(HiddenLM):
    """Reads what comes after, too."""

    def forward(self, x: Tensor, hidden: States | None = None) -> tuple[Tensor, States]:
        logits, hidden = super().forward(x, hidden)
        return logits + logits.mean(1, keepdim=True), hidden


class Zoneout(nn.Module):
    """A cell that keeps each number of its states with a probability in training; in eval mode the mean of both."""

    def __init__(self, cell: nn.LSTMCell, keep: float = 0.1) -> None:
        super().__init__()
        self.cell = cell
        self.keep = keep

    def forward(self, x: Tensor, hidden: States) -> States:
        found = self.cell(x, hidden)
        h, c = (self._kept(old, new) for old, new in zip(hidden, found, strict=True))
        return h, c

    def _kept(self, old: Tensor, new: Tensor) -> Tensor:
        if self.training:
            return torch.where(torch.rand_like(new) < self.keep, old, new)
        return self.keep * old + (1 - self.keep) * new


class ZoneoutTranslator(nn.Module):
    """A decoder of a zoneout cell, its state a tuple (h, c); the encoder's layer has a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, 16)
        self.encoder = nn.LSTM(16, 24, proj_size=12, bidirectional=True, batch_first=True)
        self.cell = Zoneout(nn.LSTMCell(16, 24))
        self.fc = nn.Linear(48, V)

    def encode(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, States]:
        memory, (h, c) = unsorted(self.encoder, self.embedding(ids), lengths)
        return memory, memory, (torch.cat([h[0], h[1]], dim=1), c.mean(0))

    def step(
        self, token: Tensor, state: States, memory: Tensor, keys: Tensor, lengths: Tensor
    ) -> tuple[Tensor, States, Tensor]:
        h, c = self.cell(self.embedding(token), state)
        scores = (keys @ h.unsqueeze(2)).squeeze(2)
        past = torch.arange(keys.shape[1]) >= lengths.unsqueeze(1)
        attention = scores.masked_fill(past, float("-inf")).softmax(dim=1)
        context = (attention.unsqueeze(1) @ memory).squeeze(1)
        return self.fc(torch.cat([context, h], dim=1)), (h, c), attention
