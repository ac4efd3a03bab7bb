"""Numbers that a module treats specially are found wherever people write them."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.user_module.constants import integers_of

PAD = 1001
BANNED = {1002, 1003}
MAP = {"stop": 1013}


def is_padding(ids: Tensor, pad: int = 1014) -> Tensor:
    return (ids == PAD) | (ids == 1004) | (ids == pad)


def with_closure(number: int) -> Any:
    def look(ids: Tensor) -> Tensor:
        return ids == number

    return look


class Base(nn.Module):
    unk = 1005

    def mask(self, ids: Tensor) -> Tensor:
        return (lambda x: x != 1006)(ids)


class Special(Base):
    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(2000, 2, padding_idx=1007)
        self.eos = 1008
        self.stops = [1009, (1010,)]
        self.register_buffer("banned", torch.tensor([1011]))
        self.config = SimpleNamespace(bos=1012)
        self.look = with_closure(1015)
        self.partial = partial(is_padding, pad=1018)
        self.array = np.array([1016])
        self.inner = nn.Linear(2, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return is_padding(ids) | torch.tensor([i in BANNED for i in (MAP["stop"],)]) | self.mask(ids) | (ids > 1017)


def test_code_attributes_buffers_and_what_functions_name_are_looked_at() -> None:
    assert set(range(1001, 1019)) <= set(integers_of(Special()))


def test_weights_and_flags_are_no_numbers() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flag = True
            self.register_buffer("table", torch.arange(5000))
            self.register_buffer("is_on", torch.tensor([True]))
            self.scale = 7.5

    assert integers_of(Plain()) == []
