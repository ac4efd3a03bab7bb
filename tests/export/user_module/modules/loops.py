"""Loops over time in a forward, as users write them."""

import torch
from torch import Tensor, nn

from tests.export.user_module.modules.cells import LayerNormLstm, MinGru, SmallNtm


class LoopedLayerNormLstm(LayerNormLstm):
    """A loop over positions, with the states and a list."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, time, _ = x.shape
        h = c = torch.zeros(batch, self.hidden)
        outputs = []
        for t in range(time):
            gates = self.norm_input(self.from_input(x[:, t, :])) + self.norm_state(self.from_state(h))
            i, f, g, o = gates.chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(self.norm_cell(c))
            outputs.append(h)
        return torch.stack(outputs, dim=1), h, c


class LoopedMinGru(MinGru):
    """Over tensors together, from the last to the first, into a tensor that was made before."""

    def forward(self, x: Tensor) -> Tensor:
        gates, candidates = torch.sigmoid(self.gate(x)), self.candidate(x)
        outputs = torch.zeros_like(gates)
        h = x.new_zeros(len(x), gates.size(-1))
        for t in reversed(range(x.size(1))):
            h = h + gates[:, t] * (candidates[:, t] - h)
            outputs[:, t] = h
        return outputs


class LoopedNtm(SmallNtm):
    """A dict of states, two lists, a method of its own."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        outputs, reads, state = self.run(x)
        return torch.stack(outputs, 1), torch.stack(reads, 1), state["memory"]

    def run(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor]]:
        state = self.initial_state(x.size(0))
        outputs, reads = [], []
        for frame in x.unbind(1):
            (output, read), state = self.step(frame, state)
            outputs.append(output)
            reads.append(read)
        return outputs, reads, state


class Stack(nn.Module):
    """Layers inside of time, their states in a list that is changed in place; time first; a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList(nn.GRUCell(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = x.transpose(0, 1)
        hidden = [x.new_zeros(x.size(1), 8) for _ in self.cells]
        outputs: list[Tensor] = []
        for frame in x:
            value = frame
            for i, cell in enumerate(self.cells):
                hidden[i] = cell(value, hidden[i])
                value = value + hidden[i]
            outputs += [value]
        return torch.stack(outputs).transpose(0, 1), hidden


class BothWays(nn.Module):
    """Time inside of layers, each in both directions, written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards = nn.ModuleList([nn.LSTMCell(8, 6), nn.LSTMCell(12, 6)])
        self.backwards = nn.ModuleList([nn.LSTMCell(8, 6), nn.LSTMCell(12, 6)])

    def forward(self, x: Tensor) -> Tensor:
        T = x.shape[1]
        for ahead, back in zip(self.forwards, self.backwards, strict=True):
            zeros = torch.zeros(x.shape[0], 6)
            state, other = (zeros, zeros), (zeros, zeros)
            left: list[Tensor] = []
            right: list[Tensor] = []
            for t in range(T):
                state = ahead(x[:, t], state)
                other = back(x[:, T - 1 - t], other)
                left.append(state[0])
                right.insert(0, other[0])
            x = torch.cat([torch.stack(left, 1), torch.stack(right, 1)], dim=2)
        return x


class BestPath(nn.Module):
    """Viterbi: one loop goes ahead, one goes back through what it kept; the path begins with its last tag."""

    def __init__(self) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.randn(8, 8))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        score, came_from = x[:, 0], []
        for t in range(1, x.size(1)):
            score, tag = (score.unsqueeze(2) + self.transitions).max(dim=1)
            score = score + x[:, t]
            came_from.append(tag)
        best, tag = score.max(dim=1)
        path = [tag]
        for previous in reversed(came_from):
            tag = previous.gather(1, tag.unsqueeze(1)).squeeze(1)
            path.insert(0, tag)
        return best, torch.stack(path, dim=1)


class Layered(nn.Module):
    """nn.LSTM given one frame after the other; a mask; the first frame before the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, num_layers=2, batch_first=True)
        self.start = nn.Linear(8, 6)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        first = torch.tanh(self.start(x[:, 0]))
        h, c = first.repeat(2, 1, 1), torch.zeros(2, x.size(0), 6)
        is_valid = torch.arange(x.size(1)) < lengths.unsqueeze(1)
        outputs = [first]
        for t in range(1, x.size(1)):
            y, (new_h, new_c) = self.lstm(x[:, t : t + 1], (h, c))
            keep = is_valid[:, t].unsqueeze(1)
            h, c = torch.where(keep, new_h, h), torch.where(keep, new_c, c)
            outputs.append(torch.where(keep, y[:, 0], torch.zeros_like(y[:, 0])))
        return torch.stack(outputs, dim=1), h[-1]


class Summing(nn.Module):
    """No list: the last value of a name, a running sum changed in place, positions as a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.RNNCell(8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, total = torch.zeros(x.size(0), 8), torch.zeros(x.size(0), 8)
        positions = torch.arange(x.size(1))
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
            weighed = torch.where(positions[t] > 11, h * 2, h) / (positions[t] + 1)
            total += weighed
        return total, weighed


class Chunks(nn.Module):
    """split with the axis kept, cat after it, a list of a list's steps read by a second loop."""

    def __init__(self) -> None:
        super().__init__()
        self.lower, self.upper = nn.GRUCell(8, 8), nn.GRUCell(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = g = x.new_zeros(x.size(0), 8)
        lower, upper = [], []
        for chunk in torch.split(x, 1, dim=1):
            h = self.lower(chunk.squeeze(1), h)
            lower.append(h)
        for t, value in enumerate(lower):
            g = self.upper(value + x[:, t], g)
            upper.append(g.unsqueeze(1))
        return torch.cat(upper, dim=1)


class Decides(nn.Module):
    """A question about a size beside the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 8)
        outs = []
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
            outs.append(h)
        y = torch.stack(outs, dim=1)
        return y * 2 if x.size(1) > 100 else y
