"""The Neural Turing Machine (Graves et al. 2014): an LSTM that writes to a memory and reads from it, by attention.

One write head and one read head, addressed by content and by location (section 3.3). The state row has the memory and
both heads' weights. It begins with zeros, as any cell's: what it holds are differences from a memory of a small
constant (Collier & Beel 2018, section 3) and from weights that are all on the first location.
"""

from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.cells import NTM_LOCATIONS, NTM_WIDTH

_NUM_SHIFTS = 3  # by one location back, by none, by one on
_BLANK = 1e-6  # the memory at the beginning
_TINY = 1e-16  # the least weight before it is sharpened


class NeuralTuringMachine(nn.Module):
    """One step: the controller reads its input and what it read before, the memory is written, then read.

    Args:
        input_size: width of the inputs.
        hidden_size: width of the controller.
    """

    first: Tensor

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.controller = nn.LSTMCell(input_size, hidden_size)
        self.addressing = nn.Linear(hidden_size, 2 * (NTM_WIDTH + 3 + _NUM_SHIFTS))  # of the write and the read head
        self.written = nn.Linear(hidden_size, 2 * NTM_WIDTH)
        self.read = nn.Linear(NTM_WIDTH, hidden_size)
        with torch.no_grad():  # the write head begins by going on, from location to location
            self.addressing.bias[NTM_WIDTH + 1] -= 2  # gate
            self.addressing.bias[NTM_WIDTH + 1 + _NUM_SHIFTS] += 3  # shift by one on
        self.register_buffer("first", F.one_hot(torch.tensor(0), NTM_LOCATIONS).float(), persistent=False)

    def forward(
        self, inputs: Tensor, hidden: Tensor, cell: Tensor, memory: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs [batch, input] and the states -> the new ones.

        Args:
            inputs: float [batch, input].
            hidden: float [batch, hidden], the controller's output with what was read, which the next step sees.
            cell: float [batch, hidden], of the LSTM.
            memory: float [batch, N * M], less its beginning.
            weights: float [batch, 2 * N], of the write and the read head, less their beginning.
        """
        memory = memory.reshape(-1, NTM_LOCATIONS, NTM_WIDTH) + _BLANK
        weights = weights.reshape(-1, 2, NTM_LOCATIONS) + self.first
        output, cell = self.controller(inputs, (hidden, cell))
        weights = self._addressed(output, memory, weights)
        erase, add = self.written(output).unsqueeze(1).chunk(2, dim=2)
        write = weights[:, 0].unsqueeze(2)
        memory = memory * (1 - write * _sigmoid(erase)) + write * _tanh(add)  # equations 3 and 4
        hidden = output + self.read((weights[:, 1:] @ memory).squeeze(1))  # equation 2
        return hidden, cell, (memory - _BLANK).flatten(1), (weights - self.first).flatten(1)

    def _addressed(self, output: Tensor, memory: Tensor, before: Tensor) -> Tensor:
        """The heads' new weights [batch, 2, N], by equations 5 to 9."""
        parts = self.addressing(output).reshape(-1, 2, NTM_WIDTH + 3 + _NUM_SHIFTS)
        key, strength, gate, shift, sharpness = torch.split(parts, [NTM_WIDTH, 1, 1, _NUM_SHIFTS, 1], dim=2)
        key = _tanh(key)
        similarity = key @ memory.transpose(1, 2) / (_length(key) * _length(memory).transpose(1, 2))
        by_content = torch.softmax(_positive(strength) * similarity, dim=2)
        mixed = before + _sigmoid(gate) * (by_content - before)
        ring = torch.cat([mixed[..., -1:], mixed, mixed[..., :1]], dim=2)
        back, stay, on = torch.softmax(shift, dim=2).chunk(_NUM_SHIFTS, dim=2)
        shifted = on * ring[..., :-2] + stay * mixed + back * ring[..., 2:]
        shifted = shifted.clamp(min=_TINY)
        highest = shifted.amax(dim=2, keepdim=True).detach()  # so that no power is too small for float32
        sharpened = torch.pow(shifted / highest, 1 + _positive(sharpness))
        return sharpened / (sharpened @ sharpened.new_ones(NTM_LOCATIONS, 1))


def _sigmoid(value: Tensor) -> Tensor:
    """As torch.sigmoid; onnxruntime's own is off by up to 2 % of small values, which sharp weights amplify."""
    return torch.softmax(torch.stack([value, torch.zeros_like(value)], dim=-1), dim=-1)[..., 0]


def _tanh(value: Tensor) -> Tensor:
    """As torch.tanh; onnxruntime's own is off by up to 3e-7."""
    return 2 * _sigmoid(2 * value) - 1


def _positive(value: Tensor) -> Tensor:
    """Squareplus (Barron 2021), as softplus at 0, of which onnxruntime gives a row other bits in another batch."""
    return (value + torch.sqrt(value.square() + 4 * log(2) ** 2)) / 2


def _length(vectors: Tensor) -> Tensor:
    """Of vectors [..., M], [..., 1]; a product and no sum, which a graph may not hold (export.onnx.census)."""
    return torch.sqrt(vectors.square() @ vectors.new_ones(NTM_WIDTH, 1) + 1e-6)
