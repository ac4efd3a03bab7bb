"""Modules that cannot be exported, each for a reason of its own."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, unpack_sequence


class Around(nn.Module):
    """A module around one layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"layer": layer})

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.encoder["layer"](x)[0]
        return outputs


def quantised() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(Around(nn.LSTM(8, 6, batch_first=True)), {nn.LSTM})  # type: ignore[no-any-return, no-untyped-call]


def scripted() -> nn.Module:
    return Around(torch.jit.script(nn.Linear(8, 6)))


def compiled() -> nn.Module:
    return Around(torch.compile(nn.LSTM(8, 6, batch_first=True)))  # type: ignore[arg-type]


def parallel() -> nn.Module:
    return nn.DataParallel(Around(nn.LSTM(8, 6, batch_first=True)))


def double() -> nn.Module:
    return Around(nn.RNN(8, 6, batch_first=True)).double()


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(8), Around(nn.GRU(8, 6, batch_first=True)))


def empty() -> nn.Module:
    layer = nn.GRU(8, 6, batch_first=True)
    layer.num_layers = 0
    return Around(layer)


class Forward(nn.Module):
    """An LSTM with a forward of the caller's."""

    def __init__(self, forward: Callable[[nn.LSTM, Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, batch_first=True)
        self.written = forward

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        return self.written(self.lstm, x, lengths)


def _packed(x: Tensor, lengths: Tensor) -> PackedSequence:
    return pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)


def returns_packed() -> nn.Module:
    return Forward(lambda lstm, x, lengths: {"packed": lstm(_packed(x, lengths))[0]})


def returns_packed_data() -> nn.Module:
    return Forward(lambda lstm, x, lengths: lstm(_packed(x, lengths))[0].data)


def own_batch_sizes() -> nn.Module:
    def forward(lstm: nn.LSTM, x: Tensor, lengths: Tensor) -> Tensor:
        packed = _packed(x, lengths)
        outputs: Tensor = lstm(PackedSequence(packed.data, packed.batch_sizes + 0))[1][0]
        return outputs

    return Forward(forward)


def unpacks_rows() -> nn.Module:
    return Forward(
        lambda lstm, x, lengths: torch.stack([row[-1] for row in unpack_sequence(lstm(_packed(x, lengths))[0])])
    )


def loops_over_time() -> nn.Module:
    def forward(lstm: nn.LSTM, x: Tensor, lengths: Tensor) -> Tensor:
        total = torch.zeros(x.size(0), 8)
        for step in range(x.size(1)):
            total = torch.tanh(total + x[:, step])
        return total

    return Forward(forward)


def counts_rows() -> nn.Module:
    return Forward(lambda lstm, x, lengths: lstm(x)[0][torch.arange(len(x)), lengths - 1])


def reads_a_value() -> nn.Module:
    return Forward(lambda lstm, x, lengths: lstm(x[:, : int(lengths.max())])[0])


def reads_a_list() -> nn.Module:
    return Forward(lambda lstm, x, lengths: lstm(x[:, : max(lengths.tolist())])[0])


def returns_a_number() -> nn.Module:
    return Forward(lambda lstm, x, _lengths: {"outputs": lstm(x)[0], "width": 6})


def returns_nothing() -> nn.Module:
    return Forward(lambda _lstm, _x, _lengths: None)


def noisy() -> nn.Module:
    return Forward(lambda lstm, x, _lengths: lstm(x)[0] + torch.rand(()))


class Remembers(nn.Module):
    """Keeps its state between calls."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, batch_first=True)
        self.state: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor
        outputs, self.state = self.lstm(x, self.state)
        return outputs


def branches_on_size() -> nn.Module:
    """Traced at several steps, it answers wrongly at one: a fault that only the comparison can find."""
    return Forward(lambda lstm, x, _lengths: lstm(x)[0] * (2 if x.size(1) == 1 else 1))


def fails() -> nn.Module:
    raise RuntimeError("no such corpus")


def needs_arguments(width: int) -> nn.Module:
    return nn.LSTM(8, width)


def gives_a_string() -> str:
    return "lstm"


NOT_CALLABLE = 3
