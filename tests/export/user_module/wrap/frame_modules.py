"""Models of frames that a user might have: served ones, and ones that are refused."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Vad(nn.Module):
    """Speech or not, for each frame; (h, c) as two states."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Linear(8, 12)
        self.lstm = nn.LSTM(12, 16, num_layers=2, batch_first=True)
        self.head = nn.Linear(16, 1)

    def forward(self, frames: Tensor, lengths: Tensor, h: Any = None, c: Any = None) -> tuple[Tensor, Tensor, Tensor]:
        packed = pack_padded_sequence(
            torch.relu(self.front(frames)), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        outputs, (h, c) = self.lstm(packed, None if h is None else (h, c))
        outputs, _ = pad_packed_sequence(outputs, batch_first=True)
        return torch.sigmoid(self.head(outputs)).squeeze(2), h, c


class Policy(nn.Module):
    """Ids and floats, one input a call, missing numbers, an integer state, several outputs; no lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.actions = nn.Embedding(11, 6)
        self.gru = nn.GRU(6 + 3 + 2, 16, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(
        self, action: Tensor, seen: Tensor, goal: Tensor, hidden: Any = None, count: Any = None
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        count = torch.zeros(action.shape[0], dtype=torch.int64) if count is None else count
        goals = goal.unsqueeze(1).expand(-1, action.shape[1], -1)
        outputs, hidden = self.gru(torch.cat([self.actions(action), torch.nan_to_num(seen), goals], 2), hidden)
        logits = self.head(outputs)
        ages = count.unsqueeze(1) + torch.arange(1, action.shape[1] + 1)
        found = {"logits": logits, "best": logits.argmax(2), "age": ages, "last": logits[:, -1]}
        return found, hidden, count + action.shape[1]


class Tags(nn.Module):
    """Both directions, so no state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.size(1))
        found: Tensor = self.head(outputs)
        return found


class Ctc(nn.Module):
    """Half as many steps as frames, at least one, by a convolution that wants three frames."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Conv1d(5, 8, 3, stride=2)
        self.lstm = nn.LSTM(8, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        steps = torch.relu(self.front(x.transpose(1, 2))).transpose(1, 2)
        found: Tensor = self.head(self.lstm(steps)[0]).log_softmax(2)
        return found


class OfFrames(nn.Module):
    """Base of those that are refused."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 6, batch_first=True)


class Growing(OfFrames):
    def forward(self, x: Tensor, past: Any = None) -> tuple[Tensor, Tensor]:
        past = x if past is None else torch.cat([past, x], 1)
        return self.gru(past)[0][:, -x.shape[1] :], past


class Learnt(OfFrames):
    def __init__(self) -> None:
        super().__init__()
        self.begin = nn.Parameter(torch.ones(1, 1, 6))

    def forward(self, x: Tensor, h: Any = None) -> tuple[Tensor, Tensor]:
        outputs, h = self.gru(x, self.begin.expand(1, x.shape[0], 6).contiguous() if h is None else h)
        return outputs, h


class Halving(OfFrames):
    def forward(self, x: Tensor, h: Any = None) -> tuple[Tensor, Tensor]:
        outputs, h = self.gru(x, h)
        return outputs[:, ::2], h


class Doubled(OfFrames):
    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.gru(x)[0].double()
        return outputs


class Swapped(OfFrames):
    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.gru(x)[0].transpose(0, 1)
        return outputs


class Stateless(OfFrames):
    def forward(self, x: Tensor, h: Any = None) -> Tensor:
        outputs: Tensor = self.gru(x, h)[0]
        return outputs


class Looking(OfFrames):
    """Looks one frame back without keeping it."""

    def forward(self, x: Tensor, h: Any = None) -> tuple[Tensor, Tensor]:
        outputs, h = self.gru(x - torch.roll(x, 1, 1), h)
        return outputs, h


class Ignoring(OfFrames):
    """Takes lengths and does not read them."""

    def forward(self, x: Tensor, lengths: Tensor, h: Any = None) -> tuple[Tensor, Tensor]:
        outputs, h = self.gru(x, h)
        return outputs, h


class Unbounded(OfFrames):
    """Integers without an embedding."""

    def forward(self, x: Tensor, n: Tensor) -> Tensor:
        outputs: Tensor = self.gru(x)[0] * n.unsqueeze(2)
        return outputs
