"""Sixteen models of frames as people write them, and a translator: what `wrap` and the server must take.

Three cells are written three times each: as a Python loop over time, with scan, and as one step.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.network.scan import scan


class Vad(nn.Module):
    """Voice activity: convolved energies, an LSTM whose (h, c) come and go as a pair, a probability for each frame."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.SiLU())
        self.lstm = nn.LSTM(16, 12, batch_first=True)
        self.head = nn.Linear(12, 1)

    def forward(self, frames: Tensor, state: Any = None) -> Any:
        y, state = self.lstm(self.front(frames), state)
        return self.head(F.relu(y)).sigmoid().squeeze(-1), state


class Policy(nn.Module):
    """A robot's: an episode that begins anew forgets what was before; actions that are not allowed are masked out."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.cell = nn.Linear(6, 12), nn.GRUCell(12, 16)
        self.actor, self.critic = nn.Linear(16, 5), nn.Linear(16, 1)

    def forward(self, observation: Tensor, begins: Tensor, allowed: Tensor, hidden: Any = None) -> Any:
        if hidden is None:
            hidden = torch.zeros(observation.shape[0], 16)
        outputs = []
        for t in range(observation.shape[1]):
            hidden = hidden * (~begins[:, t]).float().unsqueeze(1)
            hidden = self.cell(torch.tanh(self.seen(observation[:, t])), hidden)
            outputs.append(hidden)
        y = torch.stack(outputs, dim=1)
        logits = self.actor(y).masked_fill(~allowed, -1e9)
        return {"logits": logits, "action": logits.argmax(-1), "value": self.critic(y).squeeze(-1)}, hidden


class BiLstmCrf(nn.Module):
    """Lample et al. 2016: emissions in both directions, the best path by Viterbi's algorithm in two loops."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(40, 12, padding_idx=0)
        self.lstm = nn.LSTM(12, 10, batch_first=True, bidirectional=True)
        self.head = nn.Linear(20, 5)
        self.start, self.end = nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(5))
        self.transitions = nn.Parameter(torch.randn(5, 5))

    def forward(self, words: Tensor, lengths: Tensor) -> Any:
        packed = pack_padded_sequence(self.emb(words), lengths.cpu(), batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=words.size(1))
        emissions = self.head(y)
        within = torch.arange(words.size(1)) < lengths.unsqueeze(1)
        own = torch.arange(5).expand(words.size(0), 5)
        score = self.start + emissions[:, 0]
        came_from = []
        for t in range(1, words.size(1)):
            best, previous = (score.unsqueeze(2) + self.transitions).max(dim=1)
            goes_on = within[:, t].unsqueeze(1)
            score = torch.where(goes_on, best + emissions[:, t], score)
            came_from.append(torch.where(goes_on, previous, own))
        score = score + self.end
        tag = score.argmax(dim=1)
        path = [tag]
        for previous in reversed(came_from):
            tag = previous.gather(1, tag.unsqueeze(1)).squeeze(1)
            path.insert(0, tag)
        return {"tags": torch.stack(path, dim=1), "score": score.max(dim=1).values}


class LayerNormLstm(nn.Module):
    """Ba et al. 2016, with the gates normed one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Linear(5 + 10, 40)
        self.norms = nn.ModuleList(nn.LayerNorm(10) for _ in range(5))
        self.state_sizes = (10, 10)

    def cell(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = self.gates(torch.cat([x, h], dim=1)).chunk(4, dim=1)
        i, f, o, g = (norm(part) for norm, part in zip(self.norms[:4], parts, strict=True))
        c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(self.norms[4](c))
        return h, h, c


class LayerNormLstmLoop(LayerNormLstm):
    def forward(self, x: Tensor, h: Any = None, c: Any = None) -> Any:
        if h is None or c is None:
            h = c = x.new_zeros(x.size(0), 10)
        outputs = []
        for frame in x.unbind(1):
            y, h, c = self.cell(frame, h, c)
            outputs.append(y)
        return torch.stack(outputs, 1), h, c


class LayerNormLstmScan(LayerNormLstm):
    def forward(self, x: Tensor, lengths: Tensor, h: Any = None, c: Any = None) -> Any:
        if h is None or c is None:
            h, c = x.new_zeros(x.size(0), 10), x.new_zeros(x.size(0), 10)
        return scan(self.cell, x, h, c, lengths=lengths)


class LayerNormLstmStep(LayerNormLstm):
    def step(self, x: Tensor, h: Tensor, c: Tensor) -> Any:
        return self.cell(x, h, c)


class MinGru(nn.Module):
    """Feng et al. 2024: gate and candidate from the input alone; two layers with a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.gates, self.candidates = (nn.ModuleList(nn.Linear(5, 5) for _ in range(2)) for _ in range(2))

    def cell(self, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        after = []
        for gate, candidate, h in zip(self.gates, self.candidates, states, strict=True):
            z = torch.sigmoid(gate(x))
            h = (1 - z) * h + z * candidate(x)
            x = x + h
            after.append(h)
        return x, after


class MinGruLoop(MinGru):
    def forward(self, x: Tensor, states: Any = None) -> Any:
        states = [torch.zeros(x.shape[0], 5) for _ in range(2)] if states is None else states
        outputs = torch.zeros_like(x)
        for t in range(x.shape[1]):
            y, states = self.cell(x[:, t], states)
            outputs[:, t] = y
        return outputs, states


class MinGruScan(MinGru):
    def forward(self, x: Tensor, states: Any = None) -> Any:
        states = [torch.zeros(x.shape[0], 5) for _ in range(2)] if states is None else states
        return scan(self.cell, x, states)


class MinGruStep(MinGru):
    def init_hidden(self, batch: int) -> list[Tensor]:
        return [torch.zeros(batch, 5) for _ in range(2)]

    def step(self, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        return self.cell(x, states)


class Ntm(nn.Module):
    """Graves et al. 2014, one head that reads and writes; its memory begins with a learnt content."""

    def __init__(self) -> None:
        super().__init__()
        self.controller = nn.GRUCell(5 + 4, 12)
        self.address, self.change = nn.Linear(12, 4 + 1 + 1 + 3 + 1), nn.Linear(12, 8)
        self.head = nn.Linear(12 + 4, 5)

    def cell(self, x: Tensor, h: Tensor, memory: Tensor, focus: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        read = torch.einsum("bn,bnm->bm", focus, memory)
        h = self.controller(torch.cat([x, read], 1), h)
        key, strength, gate, shift, sharpness = self.address(h).split([4, 1, 1, 3, 1], 1)
        alike = F.cosine_similarity(memory + 1e-3, key.unsqueeze(1), dim=2)
        content = torch.softmax(F.softplus(strength) * alike, 1)
        focus = torch.lerp(focus, content, gate.sigmoid())
        left, stay, right = shift.softmax(1).split(1, 1)
        focus = left * focus.roll(-1, 1) + stay * focus + right * focus.roll(1, 1)
        focus = (focus + 1e-6) ** (1 + F.softplus(sharpness))
        focus = focus / focus.sum(1, keepdim=True)
        erase, add = self.change(h).chunk(2, 1)
        kept = 1 - focus.unsqueeze(2) * erase.sigmoid().unsqueeze(1)
        memory = memory * kept + focus.unsqueeze(2) * add.tanh().unsqueeze(1)
        return self.head(torch.cat([h, read], 1)), h, memory, focus

    def nothing(self, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        return torch.zeros(batch, 12), torch.zeros(batch, 6, 4), torch.zeros(batch, 6)


class NtmLoop(Ntm):
    def forward(self, x: Tensor, h: Any = None, memory: Any = None, focus: Any = None) -> Any:
        if h is None:
            h, memory, focus = self.nothing(x.size(0))
        found = []
        for t in range(x.size(1)):
            y, h, memory, focus = self.cell(x[:, t], h, memory, focus)
            found.append(y)
        return torch.stack(found, dim=1), h, memory, focus


class NtmScan(Ntm):
    def forward(self, x: Tensor, lengths: Tensor, h: Any = None, memory: Any = None, focus: Any = None) -> Any:
        if h is None:
            h, memory, focus = self.nothing(x.size(0))
        return scan(self.cell, x, h, memory, focus, lengths=lengths)


class NtmStep(Ntm):
    """Its focus begins on the first cell, its memory with what was learnt: no zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.content = nn.Parameter(torch.randn(6, 4))

    def initial_state(self, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        focus = F.one_hot(torch.zeros(batch, dtype=torch.int64), 6).float()
        return torch.zeros(batch, 12), self.content.expand(batch, 6, 4), focus

    def step(self, x: Tensor, h: Tensor, memory: Tensor, focus: Tensor) -> Any:
        return self.cell(x, h, memory, focus)


class Ctc(nn.Module):
    """Speech: two strided convolutions, a bidirectional GRU, a blank and nine letters for each fourth frame."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(6, 12, 3, stride=2, padding=1), nn.Conv1d(12, 12, 3, stride=2, padding=1)
        self.gru = nn.GRU(12, 10, batch_first=True, bidirectional=True)
        self.head = nn.Linear(20, 10)

    def forward(self, features: Tensor) -> Tensor:
        x = F.gelu(self.second(F.gelu(self.first(features.transpose(1, 2)))))
        return F.log_softmax(self.head(self.gru(x.transpose(1, 2))[0]), dim=-1)


class DeepAr(nn.Module):
    """Salinas et al. 2020: a distribution for each step; which series it is decides; missing values are learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.series, self.lstm = nn.Embedding(20, 4), nn.LSTM(1 + 1 + 2 + 4, 14, num_layers=2, batch_first=True)
        self.mean, self.scale, self.missing = nn.Linear(14, 1), nn.Linear(14, 1), nn.Parameter(torch.zeros(1))

    def forward(self, value: Tensor, covariates: Tensor, series: Tensor, hidden: Any = None) -> Any:
        is_missing = torch.isnan(value)
        value = torch.where(is_missing, self.missing, value)
        who = self.series(series).unsqueeze(1).expand(-1, value.shape[1], -1)
        x = torch.cat([value.unsqueeze(2), is_missing.float().unsqueeze(2), covariates, who], dim=2)
        y, hidden = self.lstm(x, hidden)
        return (self.mean(y).squeeze(2), F.softplus(self.scale(y)).squeeze(2)), hidden


class WeightNormed(nn.Module):
    """A causal GRU whose weights are normed while it trains, by the old way and the new."""

    def __init__(self) -> None:
        super().__init__()
        gru = nn.GRU(7, 9, batch_first=True)
        self.gru = parametrizations.weight_norm(gru, "weight_hh_l0", dim=0)
        self.head = parametrizations.spectral_norm(nn.Linear(9, 4))

    def forward(self, x: Tensor, lengths: Tensor, h: Any = None) -> Any:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        y, h = self.gru(packed, h)
        return self.head(pad_packed_sequence(y, batch_first=True)[0]), h


class Projected(nn.Module):
    """Sak et al. 2014: an LSTM whose output is projected, so that h is narrower than c; one answer for a call."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 16, proj_size=5, num_layers=2, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor, state: Any = None) -> Any:
        y, state = self.lstm(x, state)
        return (self.head(y), self.head(y[:, -1]).softmax(1)), state


class Seq2Seq(nn.Module):
    """Luong et al. 2015: an LSTM reads, another writes; the states are (h, c) pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(32, 12)
        self.encoder, self.decoder = nn.LSTM(12, 16, batch_first=True), nn.LSTMCell(12, 16)
        self.out = nn.Linear(32, 32)

    def encode(self, ids: Tensor, lengths: Tensor) -> Any:
        packed = pack_padded_sequence(self.emb(ids), lengths.cpu(), batch_first=True, enforce_sorted=False)
        y, (h, c) = self.encoder(packed)
        memory, _ = pad_packed_sequence(y, batch_first=True)
        return memory, memory, (h[0], c[0])

    def step(self, token: Tensor, state: Any, memory: Tensor, keys: Tensor, lengths: Tensor) -> Any:
        h, c = self.decoder(self.emb(token), state)
        scores = torch.einsum("bsm,bm->bs", keys, h)
        scores = scores.masked_fill(torch.arange(keys.size(1)) >= lengths.unsqueeze(1), float("-inf"))
        attention = scores.softmax(1)
        context = torch.einsum("bs,bsm->bm", attention, memory)
        return self.out(torch.tanh(torch.cat([context, h], 1))), (h, c), attention


@dataclass(frozen=True)
class Case:
    """A model of frames and what it is wrapped with.

    Attributes:
        kind: its class.
        inputs: as `--input` has them.
        outputs: names of what it gives.
        num_states: that it takes and gives; 0 for one that reads whole sequences.
    """

    kind: type[nn.Module]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    num_states: int = 0

    @property
    def name(self) -> str:
        """Of the bundle."""
        return self.kind.__name__.lower()


_X = ("x:float32[batch,time,5]",)
_FRAME = ("x:float32[batch,5]",)
CASES = (
    Case(Vad, ("frames:float32[batch,time,8]",), ("speech",), 1),
    Case(
        Policy,
        ("observation:float32[batch,time,6]", "begins:bool[batch,time]", "allowed:bool[batch,time,5]"),
        ("logits", "action", "value"),
        1,
    ),
    Case(BiLstmCrf, ("words:int64[batch,time]",), ("tags", "score")),
    Case(LayerNormLstmLoop, _X, ("y",), 2),
    Case(LayerNormLstmScan, _X, ("y",), 2),
    Case(LayerNormLstmStep, _FRAME, ("y",), 2),
    Case(MinGruLoop, _X, ("y",), 1),
    Case(MinGruScan, _X, ("y",), 1),
    Case(MinGruStep, _FRAME, ("y",), 1),
    Case(NtmLoop, _X, ("y",), 3),
    Case(NtmScan, _X, ("y",), 3),
    Case(NtmStep, _FRAME, ("y",), 3),
    Case(Ctc, ("features:float32[batch,time,6]",), ("letters",)),
    Case(
        DeepAr,
        ("value:float32[batch,time]", "covariates:float32[batch,time,2]", "series:int64[batch]"),
        ("mean", "scale"),
        1,
    ),
    Case(WeightNormed, ("x:float32[batch,time,7]",), ("y",), 1),
    Case(Projected, ("x:float32[batch,time,6]",), ("y", "last"), 1),
)
