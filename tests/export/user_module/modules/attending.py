"""Attention on top of recurrent encoders, and a decoder that writes a fixed number of tokens with a cell."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn


class Pooled(NamedTuple):
    logits: Tensor
    best: Tensor
    weights: Tensor


class AttentionPool(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 12)
        self.gru = nn.GRU(12, 7, bidirectional=True, batch_first=True)
        self.score = nn.Sequential(nn.Linear(14, 14), nn.Tanh(), nn.Linear(14, 1, bias=False))
        self.head = nn.Linear(14, 5)

    def forward(self, ids: Tensor, lengths: Tensor) -> Pooled:
        packed = rnn.pack_padded_sequence(self.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
        memory, _ = rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        is_padding = torch.arange(ids.size(1), device=ids.device)[None, :] >= lengths[:, None]
        scores = self.score(memory).squeeze(-1).masked_fill(is_padding, float("-inf"))
        weights = torch.softmax(scores, dim=-1)
        logits = self.head(torch.bmm(weights.unsqueeze(1), memory).squeeze(1))
        return Pooled(logits, logits.argmax(-1), weights)


class GreedyDecoder(nn.Module):
    STEPS = 4

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 8)
        self.encoder = nn.GRU(8, 8, bidirectional=True, batch_first=True)
        self.cell = nn.GRUCell(8, 16)
        self.head = nn.Linear(32, 30)

    def forward(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        packed = rnn.pack_padded_sequence(self.embedding(ids), lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, final = self.encoder(packed)
        memory, _ = rnn.pad_packed_sequence(outputs, batch_first=True)
        is_valid = torch.arange(ids.shape[1]).expand(ids.shape[0], -1) < lengths.unsqueeze(1)
        state = torch.cat([final[0], final[1]], dim=1)
        token = torch.ones(ids.shape[0], dtype=torch.long)
        written = []
        for _ in range(self.STEPS):
            state = self.cell(self.embedding(token), state)
            scores = torch.einsum("bh,bth->bt", state, memory).masked_fill(~is_valid, -1e9)
            context = torch.einsum("bt,bth->bh", scores.softmax(1), memory)
            logits = self.head(torch.cat([state, context], dim=1))
            token = logits.argmax(1)
            written.append(logits)
        return torch.stack(written, dim=1), token


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        memory, _ = rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        is_padding = torch.arange(x.shape[1])[None] >= lengths[:, None]
        attended: Tensor = self.attention(memory, memory, memory, key_padding_mask=is_padding)[0]
        return attended
