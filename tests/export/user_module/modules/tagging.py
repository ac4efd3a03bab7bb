"""Taggers: packed inside, bidirectional, several layers; one works on packed data, one on a list of lengths."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 12, padding_idx=0)
        self.lstm = nn.LSTM(12, 10, num_layers=2, bidirectional=True, batch_first=True, dropout=0.3)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(20, 7)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(ids), lengths.cpu(), batch_first=True, enforce_sorted=False)
        self.lstm.flatten_parameters()
        outputs, _ = self.lstm(packed)
        padded, _ = pad_packed_sequence(outputs, batch_first=True, total_length=ids.size(1))
        logits: Tensor = self.head(self.drop(padded))
        return logits


class PackedTagger(nn.Module):
    """Whatever is done to each element alone is done to packed data, so padding costs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 8)
        self.below = nn.LSTM(8, 6, bidirectional=True)
        self.norm = nn.LayerNorm(12)
        self.batch_norm = nn.BatchNorm1d(12)
        self.above = nn.GRU(12, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        packed = pack_padded_sequence(ids, lengths, batch_first=True, enforce_sorted=False)
        packed = self._with(packed, self.embedding(packed.data))
        packed, _ = self.below(packed)
        packed, final = self.above(self._with(packed, self.batch_norm(self.norm(packed.data))))
        logits, found = pad_packed_sequence(self._with(packed, self.head(packed.data)), batch_first=True)
        return logits, found, final[-1]

    @staticmethod
    def _with(packed: PackedSequence, data: Tensor) -> PackedSequence:
        return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)


class LastState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 8)
        self.rnn = nn.RNN(8, 6, nonlinearity="relu", batch_first=True, bidirectional=True)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(ids), lengths.tolist(), batch_first=True, enforce_sorted=False)
        _, hidden = self.rnn(packed)
        return torch.cat([hidden[-2], hidden[-1]], dim=1)
