"""A cell of your own: its step in torch, and the layers that repeat it over a sequence.

A step is a module made by `make(input_size, hidden_size)`, with forward(inputs [batch, input], *states) -> new states;
each state is float [batch, hidden], or as wide as the record says, zero at the beginning, in its order, the output
first. A row's result may depend on nothing but its own numbers (so no batch normalisation), or its bits change with its
batch-mates.
A step that also has `parallel(inputs, *states, lengths, reverse)`, all steps at once, is trained by it (min_gru).
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from models.cells import Cell, add_cell
from models.config import RecurrentConfig
from models.errors import ConfigError
from models.network.cells.layer_norm_lstm import LayerNormLstm
from models.network.cells.min_gru import MinGru
from models.network.cells.ntm import NeuralTuringMachine
from models.network.scan import scan

MakeStep = Callable[[int, int], nn.Module]
_STEPS: dict[str, MakeStep] = {"layer-norm-lstm": LayerNormLstm, "min-gru": MinGru, "ntm": NeuralTuringMachine}


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

    def forward(
        self, inputs: Tensor, states: Sequence[Tensor], lengths: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run all layers.

        Args:
            inputs: float [batch, time, input_size].
            states: each float [layers * directions, batch, the part's width].
            lengths: int [batch], each 1..time; None when every row is full.

        Returns:
            outputs [batch, time, output_size], zero past the lengths, and the states after each row's last input (of
            the backward direction: after its first).
        """
        values, directions, finals = inputs.transpose(0, 1), self.config.num_directions, []
        for start in range(0, len(self.steps), directions):
            own = tuple(state[start : start + directions] for state in states)
            layer_inputs = self.dropout(values) if start else values
            values, *final = layer(self.steps[start : start + directions], layer_inputs, own, lengths)
            finals.append(final)
        return values.transpose(0, 1), tuple(torch.cat(part) for part in zip(*finals, strict=True))


def layer(
    steps: Iterable[nn.Module], inputs: Tensor, states: tuple[Tensor, ...], lengths: Tensor | None
) -> tuple[Tensor, ...]:
    """One layer, time-major.

    Args:
        steps: the cell of each direction, forward before backward.
        inputs: float [time, batch, input].
        states: each float [directions, batch, the part's width].
        lengths: int [batch], or None when every row is full.

    Returns:
        outputs [time, batch, directions * hidden], zero past the lengths, then the last states as given.
    """
    outputs, finals = [], []
    for direction, step in enumerate(steps):
        own, is_reverse = [state[direction] for state in states], direction == 1
        parallel = getattr(step, "parallel", None) if step.training else None
        if parallel is None:
            output, *final = scan(
                partial(_step, step), inputs, *own, lengths=lengths, reverse=is_reverse, batch_first=False
            )
        else:
            output, *final = parallel(inputs, *own, lengths=lengths, reverse=is_reverse)
        outputs.append(output)
        finals.append(final)
    return (torch.cat(outputs, dim=2), *(torch.stack(part) for part in zip(*finals, strict=True)))


def _step(step: nn.Module, inputs: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
    new = tuple(step(inputs, *states))
    return (new[0], *new)
