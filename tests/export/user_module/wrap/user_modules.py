"""Modules as people write them elsewhere, some with a fault that the command must name. V = 31, as the tokenizer's."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

V = 31


def packed(layer: nn.Module, x: Tensor, lengths: Tensor, state: Any = None, **options: Any) -> tuple[Tensor, Any]:
    outputs, state = layer(pack_padded_sequence(x, lengths.cpu(), batch_first=True, **options), state)
    return pad_packed_sequence(outputs, batch_first=True)[0], state


def unsorted(layer: nn.Module, x: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    return packed(layer, x, lengths, state, enforce_sorted=False)


class PlainLM(nn.Module):
    """Packs as in many tutorials, from long to short."""

    def __init__(self, hidden: int = 24, bias: bool = True) -> None:
        super().__init__()
        self.emb = nn.Embedding(V, 16)
        self.rnn = nn.LSTM(16, hidden, 2, batch_first=True, dropout=0.1, bias=bias)
        self.out = nn.Linear(hidden, V, bias=bias)

    def forward(self, ids: Tensor, lengths: Tensor, h: Any = None, c: Any = None) -> Any:
        y, (h, c) = packed(self.rnn, self.emb(ids), lengths, None if h is None else (h, c))
        return self.out(y), h, c


def biasless_lm() -> nn.Module:
    return PlainLM(bias=False)


class ChainLM(nn.Module):
    """Two time-major layers one on the other, tied to the embedding, logits after the last token alone."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(V, 20)
        self.lower, self.upper = nn.GRU(20, 20), nn.GRU(20, 20)
        self.out = nn.Linear(20, V)
        self.out.weight = self.emb.weight

    def forward(self, ids: Tensor, lengths: Tensor, states: Any = (None, None)) -> Any:
        x = self.emb(ids).transpose(0, 1)
        finals = []
        for layer, state in zip((self.lower, self.upper), states, strict=True):
            packing = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
            outputs, final = layer(packing, state)
            x, _ = pad_packed_sequence(outputs)
            finals.append(final)
        return self.out(x[lengths - 1, torch.arange(len(lengths))]), tuple(finals)


class CellLM(nn.Module):
    """A loop over time, which no graph can have; our network takes its place."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.cell, self.out = nn.Embedding(V, 12), nn.RNNCell(12, 24, nonlinearity="relu"), nn.Linear(24, V)

    def forward(self, ids: Tensor, lengths: Tensor, h: Tensor | None = None) -> Any:
        h = self.emb.weight.new_zeros(len(ids), 24) if h is None else h
        outputs = []
        for position, x in enumerate(self.emb(ids).unbind(1)):
            h = torch.where((position < lengths).unsqueeze(1), self.cell(x, h), h)
            outputs.append(self.out(h))
        return torch.stack(outputs, dim=1), h


class ResidualLM(nn.Module):
    """Not native. States in a dict: one with the batch in the middle, one number for each row."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.rnn = nn.Embedding(V, 16), nn.GRU(16, 16, batch_first=True)
        self.norm, self.out = nn.LayerNorm(16), nn.Linear(16, V)

    def forward(self, ids: Tensor, lengths: Tensor, state: Any = None) -> Any:
        x = self.emb(ids)
        h, seen = (None, torch.zeros(len(ids))) if state is None else (state["h"], state["seen"])
        y, h = unsorted(self.rnn, x, lengths, h)
        return self.out(self.norm(x + y)), {"h": h, "seen": seen + lengths}


class RequiredStatesLM(PlainLM):
    def forward(self, ids: Tensor, lengths: Tensor, h: Any, c: Any) -> Any:  # type: ignore[override]
        return super().forward(ids, lengths, h, c)


class LearntStartLM(ResidualLM):
    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.ones(1, 1, 16))

    def forward(self, ids: Tensor, lengths: Tensor, h: Tensor | None = None) -> Any:
        h = self.start.expand(1, len(ids), 16).contiguous() if h is None else h
        y, h = unsorted(self.rnn, self.emb(ids), lengths, h)
        return self.out(y), h


class GrowingLM(ResidualLM):
    def forward(self, ids: Tensor, lengths: Tensor, past: Tensor | None = None) -> Any:
        x = self.emb(ids)
        past = x if past is None else torch.cat([past, x], dim=1)
        return self.out(past.mean(1)), past


class CountingLM(ResidualLM):
    def forward(self, ids: Tensor, lengths: Tensor, seen: Tensor | None = None) -> Any:
        return self.out(self.emb(ids)), lengths if seen is None else seen + lengths


class CommonStateLM(ResidualLM):
    def forward(self, ids: Tensor, lengths: Tensor, common: Tensor | None = None) -> Any:
        return self.out(self.emb(ids)), torch.zeros(4) if common is None else common


class StatelessLM(ResidualLM):
    def forward(self, ids: Tensor, lengths: Tensor, *states: Tensor) -> Any:
        return self.out(self.emb(ids))


class ProbabilityLM(ResidualLM):
    def forward(self, ids: Tensor, lengths: Tensor, state: Any = None) -> Any:
        logits, state = super().forward(ids, lengths, state)
        return logits.softmax(-1), state


class UnpackedLM(ResidualLM):
    """Reads padding into its state."""

    def forward(self, ids: Tensor, lengths: Tensor, h: Tensor | None = None) -> Any:
        y, h = self.rnn(self.emb(ids), h)
        return self.out(self.norm(y)), h


class LookingBackLM(ResidualLM):
    """A convolution over time without a state of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(16, 16, 3)

    def forward(self, ids: Tensor, lengths: Tensor, h: Tensor | None = None) -> Any:
        x = nn.functional.pad(self.emb(ids).transpose(1, 2), (2, 0))
        y, h = unsorted(self.rnn, self.conv(x).transpose(1, 2), lengths, h)
        return self.out(self.norm(y)), h


class Reviews(nn.Module):
    """Two directions, packed; the pooling is the subclass's."""

    num_logits = 2

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(V, 16)
        self.rnn = nn.LSTM(16, 12, 2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(24, self.num_logits)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        outputs, (h, _) = unsorted(self.rnn, self.emb(ids), lengths)
        result: Tensor = self.fc(self.pool(outputs, h, lengths))
        return result

    def pool(self, outputs: Tensor, h: Tensor, lengths: Tensor) -> Tensor:
        return torch.cat([h[-2], h[-1]], dim=1)


class MeanReviews(Reviews):
    """One logit for two classes."""

    num_logits = 1

    def pool(self, outputs: Tensor, h: Tensor, lengths: Tensor) -> Tensor:
        return outputs.sum(1) / lengths.unsqueeze(1)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(ids, lengths).squeeze(1)


class AttentiveReviews(Reviews):
    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(24, 1)

    def pool(self, outputs: Tensor, h: Tensor, lengths: Tensor) -> Tensor:
        past = torch.arange(outputs.shape[1]) >= lengths.unsqueeze(1)
        scores = self.score(outputs).squeeze(2).masked_fill(past, float("-inf"))
        pooled: Tensor = (scores.softmax(1).unsqueeze(1) @ outputs).squeeze(1)
        return pooled


class SummingReviews(Reviews):
    """Not native: tanh between; its sum over time is right, and may move the last bit."""

    def pool(self, outputs: Tensor, h: Tensor, lengths: Tensor) -> Tensor:
        return torch.tanh(outputs.sum(1) * 0.3)


class PaddingReviews(Reviews):
    def pool(self, outputs: Tensor, h: Tensor, lengths: Tensor) -> Tensor:
        return outputs.mean(1)


class SigmoidReviews(MeanReviews):
    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(ids, lengths).sigmoid()


class Numbers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.enc = nn.Embedding(V, 12), nn.GRU(12, 16, batch_first=True)
        self.dec, self.out = nn.GRUCell(12, 16), nn.Linear(32, V)

    def encode(self, ids: Tensor, lengths: Tensor) -> Any:
        memory, last = unsorted(self.enc, self.emb(ids), lengths)
        return memory, memory, last[0]

    def step(self, token: Tensor, state: Tensor, memory: Tensor, keys: Tensor, lengths: Tensor) -> Any:
        state = self.dec(self.emb(token), state)
        attention = self.attend((keys @ state.unsqueeze(2)).squeeze(2), lengths)
        context = (attention.unsqueeze(1) @ memory).squeeze(1)
        return self.out(torch.cat([context, state], 1)), state, attention

    def attend(self, scores: Tensor, lengths: Tensor) -> Tensor:
        past = torch.arange(scores.shape[1]) >= lengths.unsqueeze(1)
        return scores.masked_fill(past, -1e9).softmax(1)


class UnmaskedNumbers(Numbers):
    def attend(self, scores: Tensor, lengths: Tensor) -> Tensor:
        return scores.softmax(1)


class ScoringNumbers(Numbers):
    def attend(self, scores: Tensor, lengths: Tensor) -> Tensor:
        return super().attend(scores, lengths) * 2


class KeylessNumbers(Numbers):
    def encode(self, ids: Tensor, lengths: Tensor) -> Any:
        memory, _, state = super().encode(ids, lengths)
        return memory, None, state


class BranchingLM(ResidualLM):
    """Louder where more than a hundred tokens come at once."""

    def forward(self, *arguments: Any) -> Any:
        logits, *states = super().forward(*arguments)
        return (logits * 3 if arguments[0].size(1) > 100 else logits), *states


class BranchingNumbers(Numbers):
    def encode(self, ids: Tensor, lengths: Tensor) -> Any:
        memory, keys, state = super().encode(ids, lengths)
        return (memory * 2 if ids.size(1) > 100 else memory), keys, state


class CountingReviews(SummingReviews):
    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        logits: Tensor = super().forward(ids, lengths)
        return logits * 3 if ids.numel() > 3000 else logits


class CuttingReviews(SummingReviews):
    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        logits: Tensor = super().forward(ids[:, :64], lengths.clamp(max=64))
        return logits


class PlaceReviews(SummingReviews):
    """Knows 200 positions."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(200, 4)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        logits: Tensor = super().forward(ids, lengths)
        places: Tensor = self.places(torch.arange(ids.size(1)))
        return logits + places.mean() * 0


class FewerStatesLM(ResidualLM):
    def forward(self, ids: Tensor, lengths: Tensor, state: Any = None) -> Any:
        logits, states = super().forward(ids, lengths)
        return logits, states["h"]


class LengthlessLM(StatelessLM):
    def forward(self, ids: Tensor) -> Any:  # type: ignore[override]
        return super().forward(ids, torch.full((len(ids),), ids.size(1)))
