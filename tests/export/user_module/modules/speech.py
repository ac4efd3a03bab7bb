"""A convolution in front that halves the time, then a packed bidirectional LSTM."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Recognizer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Conv1d(20, 8, 3, stride=2, padding=1), nn.BatchNorm1d(8), nn.ReLU())
        self.lstm = nn.LSTM(8, 6, bidirectional=True, batch_first=True)
        self.head = nn.Linear(12, 5)

    def forward(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        features = self.front(mel).transpose(1, 2)
        shorter = (lengths + 1) // 2
        packed = pack_padded_sequence(features, shorter.cpu(), batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return F.log_softmax(self.head(outputs), dim=-1), shorter
