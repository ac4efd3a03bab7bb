"""Loops over time that no graph can have, as users write them."""

import torch
from torch import Tensor, nn


class _Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(8, 8)
        self.score = nn.Linear(8, 1)


class PositionAsNumber(_Cell):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 8)
        for t in range(x.size(1)):
            new = self.cell(x[:, t], h)
            h = torch.where((t < lengths).unsqueeze(1), new, h)
        return h


class LengthAsNumber(_Cell):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        batch, steps, _ = x.shape
        h = x.new_zeros(batch, 8)
        for t in range(steps):
            h = self.cell(x[:, t] / steps, h)
        return h


class StepBack(_Cell):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 8)
        for t in range(x.size(1)):
            h = self.cell(x[:, t] - x[:, t - 1], h)
        return h


class LastOfList(_Cell):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        outputs = [x.new_zeros(x.size(0), 8)]
        for t in range(x.size(1)):
            outputs.append(self.cell(x[:, t], outputs[-1]))
        return torch.stack(outputs[1:], 1)


class AttendsToThePast(_Cell):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 8)
        past = [h]
        for frame in x.unbind(1):
            seen = torch.stack(past, 1)
            h = self.cell(frame, (self.score(seen).softmax(1) * seen).sum(1))
            past.append(h)
        return h


class FirstStep(_Cell):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        outputs = []
        for t in range(x.size(1)):
            if t == 0:  # noqa: SIM108
                h = torch.tanh(x[:, t])
            else:
                h = self.cell(x[:, t], h)
            outputs.append(h)
        return torch.stack(outputs, 1)


class BeginsWithNone(_Cell):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor | None:
        h: Tensor | None = None
        for frame in x.unbind(1):
            h = self.cell(frame, h)
        return h


class AsksForNone(_Cell):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor | None:
        h: Tensor | None = None
        for t in range(x.size(1)):
            if h is None:
                h = torch.zeros(x.size(0), 8)
            h = self.cell(x[:, t], h)
        return h


class Breaks(_Cell):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 8)
        for t in range(x.size(1)):
            if bool((h.abs() > 3).all()):
                break
            h = self.cell(x[:, t], h)
        return h


class KeepsOnModule(_Cell):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 8)
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
            self.last = h
        return h


class EverySecondIntoTheList(_Cell):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.size(0), 8), []
        for i, frame in enumerate(x.unbind(1)):
            h = self.cell(frame, h)
            if i % 2 == 0:
                outputs.append(h)
        return torch.stack(outputs, 1)


class Counts(_Cell):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        h, count = x.new_zeros(x.size(0), 8), 0
        for frame in x.unbind(1):
            h = self.cell(frame, h)
            count += 1
        return h / count


class Broadcasts(_Cell):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        h = torch.zeros(1, 8)
        for frame in x.unbind(1):
            h = self.cell(frame, h.expand(x.size(0), 8))
        return h


class ReadsWhatItFills(_Cell):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        out = torch.zeros(x.size(0), x.size(1) + 1, 8)
        for t in range(x.size(1)):
            out[:, t + 1] = self.cell(x[:, t], out[:, t])
        return out[:, 1:]


class EverySecondStep(_Cell):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        h = torch.zeros(x.size(0), 8)
        for t in range(0, x.size(1), 2):
            h = self.cell(x[:, t], h)
        return h


class IteratesTheList(_Cell):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.size(0), 8), []
        for frame in x.unbind(1):
            h = self.cell(frame, h)
            outputs.append(h)
        return torch.cat([output.unsqueeze(1) for output in outputs], 1)


class AsPrinted(_Cell):
    """PositionAsNumber, LengthAsNumber, StepBack, LastOfList and FirstStep in one, rewritten as the messages say."""

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        positions = torch.arange(x.size(1))
        num_steps = torch.full((), x.size(1))
        x_before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)
        h = torch.tanh(x[:, 0])
        outputs = [h]
        last = outputs[-1]
        for t in range(1, x.size(1)):
            new = self.cell((x[:, t] - x_before[:, t]) / num_steps, h)
            h = torch.where((positions[t] < lengths).unsqueeze(1), new, h)
            last = self.cell(x[:, t], last)
            outputs.append(last)
        return torch.stack(outputs, dim=1), h
