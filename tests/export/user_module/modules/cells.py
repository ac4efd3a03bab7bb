"""Cells of their own, each written three times as users write it: as one step, with scan, and as a loop over time."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.network.scan import scan


class LayerNormLstm(nn.Module):
    """Ba et al. 2016, equations 20 to 22."""

    def __init__(self, width: int = 8, hidden: int = 16) -> None:
        super().__init__()
        self.hidden = hidden
        self.from_input = nn.Linear(width, 4 * hidden, bias=False)
        self.from_state = nn.Linear(hidden, 4 * hidden)
        self.norm_input, self.norm_state = nn.LayerNorm(4 * hidden), nn.LayerNorm(4 * hidden)
        self.norm_cell = nn.LayerNorm(hidden)

    def initial_state(self, batch: int) -> tuple[Tensor, Tensor]:
        zeros = torch.zeros(batch, self.hidden)
        return zeros, zeros

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gates = self.norm_input(self.from_input(x)) + self.norm_state(self.from_state(h))
        i, f, g, o = gates.chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * self.norm_cell(c).tanh()
        return h, h, c


class MinGru(nn.Module):
    """Feng et al. 2024, section 3.1: gate and candidate know the input alone."""

    def __init__(self, width: int = 8, hidden: int = 16) -> None:
        super().__init__()
        self.state_sizes = (hidden,)
        self.gate, self.candidate = nn.Linear(width, hidden), nn.Linear(width, hidden)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.sigmoid(self.gate(x))
        h = (1 - z) * h + z * self.candidate(x)
        return h, h


class SmallNtm(nn.Module):
    """Graves et al. 2014: a controller with a memory of cells, read and written by content and by shifts."""

    def __init__(self, width: int = 8, hidden: int = 12, cells: int = 7, cell: int = 5) -> None:
        super().__init__()
        self.cell, self.hidden, self.cells = cell, hidden, cells
        self.controller = nn.LSTMCell(width + cell, hidden)
        self.reading = nn.Linear(hidden, cell + 6)
        self.writing = nn.Linear(hidden, 3 * cell + 6)
        self.output = nn.Linear(hidden + cell, width)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        zeros = torch.zeros(batch, self.hidden)
        at = F.one_hot(torch.zeros(batch, dtype=torch.int64), self.cells).float()
        memory = torch.full((batch, self.cells, self.cell), 1e-6)
        return {"h": zeros, "c": zeros, "memory": memory, "reads": at, "writes": at, "read": memory[:, 0]}

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor]]:
        h, c = self.controller(torch.cat([x, state["read"]], dim=1), (state["h"], state["c"]))
        address, erase, add = self.writing(h).split([self.cell + 6, self.cell, self.cell], dim=1)
        writes = self.addressed(address, state["memory"], state["writes"]).unsqueeze(2)
        memory = state["memory"] * (1 - writes * erase.sigmoid().unsqueeze(1)) + writes * add.tanh().unsqueeze(1)
        reads = self.addressed(self.reading(h), memory, state["reads"])
        read = (reads.unsqueeze(1) @ memory).squeeze(1)
        new = {"h": h, "c": c, "memory": memory, "reads": reads, "writes": writes.squeeze(2), "read": read}
        return (self.output(torch.cat([h, read], dim=1)), reads), new

    def addressed(self, address: Tensor, memory: Tensor, before: Tensor) -> Tensor:
        key, strength, gate, shift, sharpness = torch.split(address, [self.cell, 1, 1, 3, 1], dim=1)
        alike = F.cosine_similarity(key.tanh().unsqueeze(1), memory, dim=2, eps=1e-6)
        by_content = (F.softplus(strength) * alike).softmax(dim=1)
        mixed = gate.sigmoid() * by_content + (1 - gate.sigmoid()) * before
        left, stay, right = shift.softmax(dim=1).unsqueeze(2).unbind(1)
        moved = left * mixed.roll(1, 1) + stay * mixed + right * mixed.roll(-1, 1)
        sharp = (moved + 1e-6) ** (1 + F.softplus(sharpness))
        weights: Tensor = sharp / sharp.sum(dim=1, keepdim=True)
        return weights


class ScannedLayerNormLstm(LayerNormLstm):
    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        outputs, h, c = scan(self.step, x, *self.initial_state(x.size(0)), lengths=lengths)
        return outputs, h, c


class ScannedMinGru(MinGru):
    """Backwards, its products before the loop; what it gives past a row's end is the row's last output."""

    def forward(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        gates, candidates = self.gate(x).sigmoid(), self.candidate(x)
        start = x.new_zeros(x.size(0), candidates.size(2))
        outputs, h = scan(self.mix, (gates, candidates), start, lengths=lengths, reverse=True, past_end="hold")
        return {"outputs": outputs, "h": h}

    def mix(self, pair: tuple[Tensor, Tensor], h: Tensor) -> tuple[Tensor, Tensor]:
        gate, candidate = pair
        h = h + gate * (candidate - h)
        return h, h


class ScannedNtm(SmallNtm):
    def forward(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        (outputs, reads), state = scan(self.step, x, self.initial_state(x.size(0)), lengths=lengths)
        return {"outputs": outputs, "reads": reads, "memory": state["memory"]}
