"""Packed encoders that share lengths, states given to a packed layer, other paddings, sequences of a list."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence


class Siamese(nn.Module):
    """Two packed encoders share lengths, which must be sorted."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.LSTM(8, 6, batch_first=True)
        self.right = nn.GRU(8, 6, batch_first=True)

    def forward(self, a: Tensor, b: Tensor, lengths: Tensor) -> Tensor:
        _, (left, _) = self.left(pack_padded_sequence(a, lengths, batch_first=True))
        _, right = self.right(pack_padded_sequence(b, lengths, batch_first=True))
        return F.cosine_similarity(left[-1], right[-1])


class GivenState(nn.Module):
    """Initial states as arguments of a packed, bidirectional layer: rows are sorted inside, states with them."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, num_layers=2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor, h: Tensor, c: Tensor) -> dict[str, Tensor]:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        outputs, (h, c) = self.lstm(packed, (h, c))
        return {"outputs": pad_packed_sequence(outputs, batch_first=True)[0], "h": h, "c": c}


class OtherPadding(nn.Module):
    """Time first; padded with -inf for a maximum over time, and to a fixed total length."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(8, 6, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        outputs, _ = self.rnn(pack_padded_sequence(x, lengths, enforce_sorted=False))
        longest, _ = pad_packed_sequence(outputs, padding_value=-7.5, total_length=50)
        return longest, pad_packed_sequence(outputs, padding_value=float("-inf"))[0].max(dim=0).values


class Two(nn.Module):
    """pack_sequence of two sequences, each with its own dynamic axis."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(pack_sequence([first, second], enforce_sorted=False))
        final: Tensor = hidden[-1]
        return final
