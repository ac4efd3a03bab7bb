"""Gradual unfreezing (Howard & Ruder 2018, section 3.3): in the first epoch the head of a pre-trained network alone
learns, and with each further epoch the layer below it too, so that what was learnt before is not lost at once.
"""

import re

from torch import nn

from models.errors import ConfigError

_LAYER = re.compile(r"_l(\d+)(?:_reverse)?$|\.steps\.(\d+)\.")  # of PyTorch's layers; of a traced cell, by direction


class GradualUnfreezing:
    """Decides which weights of a network learn in an epoch.

    Args:
        model: with the submodules `embedding` and `recurrent`; all else is its head.
        num_directions: of the recurrent layers.

    Raises:
        ConfigError: the network has no embedding or no recurrent layers.
    """

    def __init__(self, model: nn.Module, num_directions: int) -> None:
        self._groups: dict[int, list[nn.Parameter]] = {}  # by how far below the head, 0: the head itself
        levels: dict[str, int] = {}
        for name, _ in model.named_parameters():
            if name.startswith("embedding."):
                levels[name] = -1
            elif name.startswith("recurrent."):
                found = _LAYER.search(name)
                assert found is not None, f"{name} is of no layer"
                levels[name] = int(found[1]) if found[1] else int(found[2]) // num_directions
        if -1 not in levels.values() or max(levels.values(), default=-1) < 0:
            raise ConfigError("gradual_unfreezing: this network has no embedding below recurrent layers; leave it out.")
        top = max(levels.values()) + 1
        for name, parameter in model.named_parameters():
            self._groups.setdefault(top - levels.get(name, top), []).append(parameter)

    def start_epoch(self, epoch: int) -> None:
        """Let the weights learn that learn in an epoch, counted from 0, and no others."""
        for depth, parameters in self._groups.items():
            for parameter in parameters:
                parameter.requires_grad_(depth <= epoch)
