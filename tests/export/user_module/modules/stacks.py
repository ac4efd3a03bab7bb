"""Recurrent layers of several kinds over each other, nested, with and without bias, batch first and not."""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """A recurrent layer with a residual and a norm, as in a stack of them."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.inner = nn.ModuleDict({"layer": layer, "norm": nn.LayerNorm(8)})

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.inner["norm"](x + self.inner["layer"](x)[0])
        return normed


class MixedKinds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            Block(nn.RNN(8, 8, nonlinearity="relu", batch_first=True)),
            Block(nn.LSTM(8, 8, bias=False, batch_first=True)),
            Block(nn.GRU(8, 4, bidirectional=True, batch_first=True)),
            Block(nn.RNN(8, 4, num_layers=2, bidirectional=True, bias=False, batch_first=True)),
        )

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.blocks(x)
        return mixed


class GruOverLstm(nn.Module):
    """Bidirectional GRU over an LSTM, time first and then batch first; one LSTM is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 8)
        self.gru = nn.GRU(8, 5, num_layers=2, bidirectional=True, bias=False, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        below, (hidden, _) = self.lstm(x)
        again, _ = self.lstm(below.flip(0))
        above, final = self.gru((below + again).transpose(0, 1))
        return above, (hidden, final)


def bare_lstm() -> nn.LSTM:
    return nn.LSTM(8, 6, num_layers=2)


class NotANumber(nn.Module):
    """Gives NaN and infinities, which are its answer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.lstm(x)[0]
        return outputs + torch.log(x[:, :, :6]), torch.ones(()) / torch.zeros_like(outputs[:, :, 0])
