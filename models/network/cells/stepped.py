"""A cell of your own: its step in torch, and the layers that repeat it over a sequence.

A step is a module made by `make(input_size, hidden_size)`, with forward(inputs [batch, input], *states) -> new states;
each state is float [batch, hidden], zero at the beginning, in the order of the cell's record, the output first. A row's
result may depend on nothing but its own numbers (so no batch normalisation), or its bits change with its batch-mates.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from models.cells import Cell, add_cell
from models.config import RecurrentConfig
from models.errors import ConfigError

MakeStep = Callable[[int, int], nn.Module]
_STEPS: dict[str, MakeStep] = {}


def register_cell(cell: Cell, make: MakeStep) -> None:
    """Make a cell known by its kind, for every architecture; once more with the same changes nothing.

    Args:
        cell: its record.
        make: (input_size, hidden_size) -> a step, as this module's docstring has it.

    Raises:
        ConfigError: another cell has the kind.
    """
    add_cell(cell)
    if _STEPS.setdefault(cell.kind, make) is not make:
        raise ConfigError(f"Cell {cell.kind!r} is already registered with another step; choose another kind.")


class SteppedLayers(nn.Module):
    """As nn.LSTM and its siblings with batch_first, for a registered cell.

    Args:
        config: kind, sizes, depth, directions, dropout between layers.
    """

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        make = _STEPS[config.kind]
        widths = [config.input_size] + [config.output_size] * (config.num_layers - 1)
        self.steps = nn.ModuleList(
            make(width, config.hidden_size) for width in widths for _ in range(config.num_directions)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, inputs: Tensor, states: Sequence[Tensor], lengths: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run all layers.

        Args:
            inputs: float [batch, time, input_size].
            states: each float [layers * directions, batch, hidden_size].
            lengths: int [batch], each 1..time.

        Returns:
            outputs [batch, time, output_size], zero past the lengths, and the states after each row's last input (of
            the backward direction: after its first).
        """
        is_valid = torch.arange(inputs.shape[1], device=inputs.device)[:, None] < lengths.to(inputs.device)
        values = inputs.transpose(0, 1)
        finals = []
        for index, step in enumerate(self.steps):
            direction = index % self.config.num_directions
            if direction == 0:
                layer_inputs = self.dropout(values) if index else values
                outputs = []
            own = tuple(state[index] for state in states)
            output, final = repeated(step, layer_inputs, own, is_valid.unsqueeze(2), is_reversed=direction == 1)
            outputs.append(output)
            finals.append(final)
            values = torch.cat(outputs, dim=2)
        return values.transpose(0, 1), tuple(torch.stack(part) for part in zip(*finals, strict=True))


def repeated(
    step: nn.Module, inputs: Tensor, states: tuple[Tensor, ...], is_valid: Tensor, *, is_reversed: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer and direction, time-major.

    Args:
        step: the cell.
        inputs: float [time, batch, input].
        states: each float [batch, hidden].
        is_valid: bool [time, batch, 1].
        is_reversed: from the last input to the first.

    Returns:
        outputs [time, batch, hidden] and the last states.
    """
    outputs: list[Tensor] = []
    times = range(len(inputs))
    for time in reversed(times) if is_reversed else times:
        states, output = masked_step(step, states, inputs[time], is_valid[time])
        outputs.append(output)
    return torch.stack(outputs[::-1] if is_reversed else outputs), states


def masked_step(
    step: nn.Module, states: tuple[Tensor, ...], inputs: Tensor, is_valid: Tensor
) -> tuple[tuple[Tensor, ...], Tensor]:
    """One step, in which rows past their end keep their states and put out zeros.

    Args:
        step: the cell.
        states: each float [batch, hidden].
        inputs: float [batch, input].
        is_valid: bool [batch, 1].

    Returns:
        The new states, and the output [batch, hidden].
    """
    new = tuple(step(inputs, *states))
    kept = tuple(torch.where(is_valid, after, before) for after, before in zip(new, states, strict=True))
    return kept, torch.where(is_valid, new[0], torch.zeros_like(new[0]))
