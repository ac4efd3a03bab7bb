"""Weight drop as libraries write it; in eval mode nothing is dropped."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class AssignedWeights(nn.Module):
    """The raw weights are the layer's; each call assigns what is left of them and calls the layer's forward."""

    def __init__(self, layer: nn.RNNBase, *, is_variational: bool = False) -> None:
        super().__init__()
        self.layer = layer
        self.is_variational = is_variational
        self.names = [name for name in layer._flat_weights_names if name.startswith("weight_hh")]
        layer.flatten_parameters = self._nothing  # type: ignore[method-assign]
        for name in self.names:
            raw = layer._parameters.pop(name)
            assert raw is not None
            layer.register_parameter(f"{name}_raw", nn.Parameter(raw.data))

    def _nothing(self) -> None:
        return

    def forward(self, x: Tensor, *states: Any) -> Any:
        for name in self.names:
            raw = getattr(self.layer, f"{name}_raw")
            if self.is_variational:
                mask = functional.dropout(torch.ones(raw.size(0), 1), 0.5, training=self.training)
                setattr(self.layer, name, mask.expand_as(raw) * raw)
            else:
                setattr(self.layer, name, functional.dropout(raw, 0.5, training=self.training))
        return self.layer.forward(x, *states)


class ClonedWeights(nn.Module):
    """The raw weights are this module's; the layer holds a computed tensor, in its list of weights, too."""

    def __init__(self, layer: nn.RNNBase, names: Sequence[str] = ("weight_hh_l0",)) -> None:
        super().__init__()
        self.layer, self.names = layer, names
        for name in names:
            raw = getattr(layer, name)
            delattr(layer, name)
            self.register_parameter(f"{name}_raw", nn.Parameter(raw.data))
            setattr(layer, name, raw.clone())

    def forward(self, x: Tensor, *states: Any) -> Any:
        for name in self.names:
            raw = getattr(self, f"{name}_raw")
            weight = functional.dropout(raw, 0.5) if self.training else raw.clone()
            self.layer._flat_weights[self.layer._flat_weights_names.index(name)] = weight
            setattr(self.layer, name, weight)
        return self.layer(x, *states)


class DroppingLstm(nn.LSTM):
    """An LSTM whose own forward is replaced by a function that sets the weights and calls it."""

    def __init__(self, *sizes: int, **options: Any) -> None:
        super().__init__(*sizes, **options)
        names = [f"weight_hh_l{layer}" for layer in range(self.num_layers)]
        for name in names:
            raw = self._parameters.pop(name)
            assert raw is not None
            self.register_parameter(f"{name}_raw", nn.Parameter(raw))
        original = self.forward

        def forward(*arguments: Any) -> Any:
            for name in names:
                raw = getattr(self, f"{name}_raw")
                setattr(self, name, functional.dropout(raw, 0.5, training=self.training))
            return original(*arguments)

        self.forward = forward  # type: ignore[assignment, method-assign]


class NewParameter(nn.Module):
    """Each call makes a parameter."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer
        self.raw = nn.Parameter(getattr(layer, "weight_hh_l0").detach() * 2)  # noqa: B009

    def forward(self, x: Tensor) -> Any:
        self.layer.weight_hh_l0 = nn.Parameter(functional.dropout(self.raw, 0.5, training=self.training))
        return self.layer(x)
