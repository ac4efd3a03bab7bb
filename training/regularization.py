"""Dropout of recurrent networks as wrappers of a network that is trained; what is exported never contains them.

Parameters keep their names and shapes. In evaluation mode nothing changes: what is validated, measured and published
is the network as its configuration describes it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import dropout

from models.errors import ConfigError
from models.network.cells.stepped import SteppedLayers
from models.network.recurrent import RecurrentStack
from training.recipe import RegularizationSection

# Of a cell whose step is traced, the parameters that multiply its last hidden state.
_RECURRENT = {"layer-norm-lstm": ("from_state.weight",)}


def regularize(model: nn.Module, section: RegularizationSection) -> None:
    """Put what the section asks for into a network, in place. Draws no random numbers.

    Raises:
        ConfigError: the network has nothing that an option acts on.
    """
    if section.embedding_dropout:
        embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
        if not embeddings:
            raise ConfigError("regularization.embedding_dropout: this network has no embedding; leave it out.")
        for embedding in embeddings:
            embedding.register_forward_hook(_embedding_dropout(section.embedding_dropout))
    if section.locked_dropout:
        _lock(model)
    if section.weight_drop or section.locked_dropout:
        for name, stack in list(model.named_modules()):
            if isinstance(stack, RecurrentStack):
                parent, _, own = name.rpartition(".")
                setattr(model.get_submodule(parent), own, _RegularizedStack(stack, section))


def _lock(model: nn.Module) -> None:
    own = getattr(model, "dropout", None)
    if not isinstance(own, nn.Dropout) or not own.p:
        raise ConfigError("regularization.locked_dropout: model.dropout is 0; set it, or leave out locked_dropout.")
    if getattr(model.config, "input_feeding", False):
        raise ConfigError(
            "regularization.locked_dropout: with model.input_feeding each time step is computed by itself and would "
            "draw its own mask; leave out one of them."
        )
    model.dropout = LockedDropout(own.p)


class LockedDropout(nn.Dropout):
    """One mask for all time steps of a row (Gal & Ghahramani 2016, section 4), of values [batch, time, width]."""

    def forward(self, values: Tensor) -> Tensor:
        """Values [batch, time, width] -> the same with whole columns of a row at 0, the others scaled up.

        Without a time axis, [batch, width], it is an ordinary dropout.
        """
        if values.dim() != 3 or not self.training:
            return super().forward(values)
        return values * dropout(torch.ones_like(values[:, :1]), self.p)


def _embedding_dropout(share: float) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """A hook that drops whole tokens of the vocabulary, wherever they occur in a batch (Merity et al. 2018, 4.3)."""

    def hook(embedding: nn.Module, inputs: tuple[Tensor], vectors: Tensor) -> Tensor:
        if not embedding.training:
            return vectors
        assert isinstance(embedding, nn.Embedding)
        mask = dropout(vectors.new_ones(embedding.num_embeddings), share)
        return vectors * mask[inputs[0]].unsqueeze(-1)

    return hook


class _RegularizedStack(RecurrentStack):
    """A stack whose recurrent weights are dropped, whose dropout between layers is locked, or both.

    Weights are dropped as DropConnect does (Wan et al. 2013), one mask for all time steps of a batch (Merity et al.
    2018, section 2).

    Args:
        stack: whose layers it takes.
        section: the options.
    """

    def __init__(self, stack: RecurrentStack, section: RegularizationSection) -> None:
        nn.Module.__init__(self)  # the stack's own would make new layers and draw random numbers
        self.config = stack.config
        self.layers = stack.layers
        self._weight_drop = section.weight_drop
        self._is_locked = section.locked_dropout
        if isinstance(self.layers, SteppedLayers) and self._is_locked:
            self.layers.dropout = _TimeMajorLockedDropout(self.layers.dropout.p)
        if isinstance(self.layers, SteppedLayers) and self._weight_drop and self.config.kind not in _RECURRENT:
            known = ", ".join(("rnn-tanh", "rnn-relu", "lstm", "gru", *_RECURRENT))
            raise ConfigError(
                f"regularization.weight_drop: a {self.config.kind} has no recurrent weights that it knows; use one of "
                f"{known}, or leave it out."
            )

    def forward(self, inputs: Tensor, state: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See RecurrentStack."""
        if not self.training:
            return super().forward(inputs, state, lengths)
        parts = self._parts(state)
        if isinstance(self.layers, SteppedLayers):
            outputs, final = self._stepped(self.layers, inputs, parts, lengths)
        else:
            outputs, final = self._by_layer(self.layers, inputs, parts, lengths)
        return outputs, self._rowed(final)

    def _stepped(
        self, layers: SteppedLayers, inputs: Tensor, parts: tuple[Tensor, ...], lengths: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        ends = _RECURRENT.get(self.config.kind, ())
        dropped = {
            name: dropout(weight, self._weight_drop)
            for name, weight in layers.named_parameters()
            if self._weight_drop and name.endswith(ends)
        }
        outputs, final = functional_call(layers, dropped, (inputs, parts, lengths))
        return outputs, final

    def _between_layers(self, outputs: Tensor, share: float) -> Tensor:
        """See RecurrentStack."""
        return LockedDropout(share)(outputs) if self._is_locked else super()._between_layers(outputs, share)

    def _weights(self, layers: nn.RNNBase, number: int) -> list[list[Tensor]]:
        """See RecurrentStack."""
        found = super()._weights(layers, number)
        return [[own[0], dropout(own[1], self._weight_drop), *own[2:]] for own in found]


class _TimeMajorLockedDropout(nn.Dropout):
    """LockedDropout for values [time, batch, width]."""

    def forward(self, values: Tensor) -> Tensor:
        """See LockedDropout."""
        return values * dropout(torch.ones_like(values[:1]), self.p) if self.training else values
