"""The average of the weights over updates or epochs: what is validated and published in place of the last weights.

Knows nothing of optimizers or files. The published names and shapes are those of the network itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from training.recipe import AverageSection


class WeightAverage:
    """An exponential moving average (Polyak & Juditsky 1992) or stochastic weight averaging (Izmailov et al. 2018).

    Args:
        section: kind and its options; none averages nothing.
        model: whose parameters are averaged; it is on its device.
        epochs: of the whole run, from whose share stochastic weight averaging begins.
    """

    def __init__(self, section: AverageSection, model: nn.Module, epochs: int) -> None:
        self._section = section
        self._parameters = dict(model.named_parameters())
        self._first_epoch = section.start_share * epochs  # epochs that have ended when the average begins
        self._num_added = 0
        self._weights: dict[str, Tensor] = {}

    def finish_update(self) -> None:
        """Add the weights after an update to a moving average.

        In the first updates it remembers less: the k-th counts for 9 / (10 + k), so no first weights linger in it.
        """
        if self._section.kind == "ema":
            k = self._num_added
            self._add(1 - min(self._section.decay, (1 + k) / (10 + k)))

    def finish_epoch(self, num_epochs: int) -> None:
        """Add the weights after `num_epochs` epochs to the mean of those from the start share on."""
        if self._section.kind == "swa" and num_epochs > self._first_epoch:
            self._add(1 / (self._num_added + 1))

    def _add(self, share: float) -> None:
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                if not self._num_added:
                    self._weights[name] = parameter.detach().clone()
                else:
                    self._weights[name].lerp_(parameter.detach(), share)
        self._num_added += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network has the averaged weights, and afterwards its own again. No change before there is an average."""
        own = {name: self._parameters[name].detach().clone() for name in self._weights}
        self._put(self._weights)
        try:
            yield
        finally:
            self._put(own)

    def _put(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in weights.items():
                self._parameters[name].copy_(value)

    def to_plain(self) -> dict[str, Any]:
        """Tensors and numbers, for a checkpoint; {} without an average."""
        return {"num_added": self._num_added, "weights": self._weights} if self._num_added else {}

    def restore(self, plain: dict[str, Any]) -> None:
        """Go on from what `to_plain` gave."""
        self._num_added = plain.get("num_added", 0)
        devices = {name: parameter.device for name, parameter in self._parameters.items()}
        self._weights = {name: value.to(devices[name]) for name, value in plain.get("weights", {}).items()}
