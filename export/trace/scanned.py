"""Layers of a registered cell as ONNX Scans around its traced step; takes the place of export.trace.recurrent's layers.

torch's scan is exported to one Scan with dynamic batch and time, the step's own operators in its body.
"""

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from models.network.cells.stepped import SteppedLayers, masked_step


class ScannedLayer(nn.Module):
    """One layer, one or both directions, as OnnxRecurrentLayer.

    Args:
        layers: the layers that it is of.
        index: which layer.
    """

    def __init__(self, layers: SteppedLayers, index: int) -> None:
        super().__init__()
        directions = layers.config.num_directions
        self.steps = nn.ModuleList(layers.steps[index * directions : (index + 1) * directions])

    def forward(self, inputs: Tensor, states: tuple[Tensor, ...], lengths: Tensor | None) -> tuple[Tensor, ...]:
        """Trace the layer.

        Args:
            inputs: float [time, batch, input_size].
            states: each float [directions, batch, hidden_size].
            lengths: int32 [batch], or None for a single time step, which needs no Scan.

        Returns:
            outputs [time, batch, directions * hidden_size], zero past the lengths, then the final states as given.
        """
        outputs, finals = [], []
        for direction, step in enumerate(self.steps):
            before = tuple(state[direction] for state in states)
            if lengths is None:
                after = tuple(step(inputs[0], *before))
                output = after[0].unsqueeze(0)
            else:
                after, output = _scanned(step, inputs, before, lengths, is_reversed=direction == 1)
            outputs.append(output)
            finals.append(after)
        return (torch.cat(outputs, dim=2), *(torch.stack(part) for part in zip(*finals, strict=True)))


def _scanned(
    step: nn.Module, inputs: Tensor, states: tuple[Tensor, ...], lengths: Tensor, *, is_reversed: bool
) -> tuple[tuple[Tensor, ...], Tensor]:
    """The last states, and outputs [time, batch, hidden]."""
    positions = torch.arange(inputs.shape[0], dtype=lengths.dtype)
    is_valid = (positions.unsqueeze(1) < lengths.unsqueeze(0)).unsqueeze(2)

    def combine(carried: tuple[Tensor, ...], each: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        kept, output = masked_step(step, carried, *each)
        return tuple(state.clone() for state in kept), output.clone()  # a Scan's results may not share memory

    after, outputs = scan(combine, states, (inputs, is_valid), dim=0, reverse=is_reversed)
    return tuple(after), outputs
