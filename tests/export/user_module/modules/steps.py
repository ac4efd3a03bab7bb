"""Modules with a step and no forward, as users write them."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.export.user_module.modules.cells import LayerNormLstm, MinGru, SmallNtm


class Vad(nn.Module):
    """nn.LSTM given one frame; states with the batch on the second axis; two inputs; named outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, num_layers=2)
        self.head = nn.Linear(6, 1)

    def init_hidden(self, batch: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(2, batch, 6), torch.zeros(2, batch, 6)

    def step(
        self, frame: Tensor, loudness: Tensor, hidden: tuple[Tensor, Tensor]
    ) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
        y, hidden = self.lstm((frame * loudness.unsqueeze(1)).unsqueeze(0), hidden)
        score = self.head(y[0]).squeeze(1)
        return {"speech": score.sigmoid(), "score": score}, hidden


class StepLm(nn.Module):
    """A language model of any cell: one token, states as the cell has them."""

    def __init__(self, cell: LayerNormLstm | MinGru | SmallNtm, vocab_size: int = 30) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 8)
        self.cell = cell
        self.head = nn.Linear(8, vocab_size)
        self.initial_state = getattr(cell, "initial_state", None)
        self.state_sizes = getattr(cell, "state_sizes", None)

    def step(self, token: Tensor, *states: Any) -> tuple[Tensor, ...]:
        output, *after = self.cell.step(self.embedding(token), *states)
        return (self.head(output[0] if isinstance(output, tuple) else output), *after)


def layer_norm_lstm_lm() -> StepLm:
    torch.manual_seed(0)
    return StepLm(LayerNormLstm(8, 8))


def min_gru_lm() -> StepLm:
    torch.manual_seed(0)
    return StepLm(MinGru(8, 8))


def ntm_lm() -> StepLm:
    torch.manual_seed(0)
    return StepLm(SmallNtm(8))


class DefaultsLm(nn.Module):
    """Its state has a default, and a training forward of its own takes no lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 8)
        self.gru = nn.GRU(8, 12, num_layers=2)
        self.head = nn.Linear(12, 30)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.gru(self.embedding(ids).transpose(0, 1))[0]).transpose(0, 1)
        return logits

    def step(self, token: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, h = self.gru(self.embedding(token).unsqueeze(0), h)
        return self.head(y[0]), h
