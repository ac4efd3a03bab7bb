"""Layers of a registered cell as ONNX Scans around its traced step; takes the place of export.trace.recurrent's layers.

Under torch.export the layer is one Scan for each direction, the step's own operators in its body (models.network.scan).
"""

from torch import Tensor, nn

from models.network.cells.stepped import SteppedLayers, layer


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
        """Trace the layer: see models.network.cells.stepped.layer; a single time step becomes no Scan."""
        return layer(self.steps, inputs, states, lengths)
