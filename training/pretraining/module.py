"""Pre-training as Lightning runs it: a sampled softmax in each direction.

The right token is distinguished from K drawn ones instead of from all V (importance sampling, Bengio & Senecal 2008;
one draw for a whole window). From each logit the logarithm of how often its token is expected among the draws is
subtracted (Jean et al. 2015, section 3.1), so the weights learn the probabilities of the full softmax.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from training.language_model.windows import IGNORED
from training.module import TrainingModule
from training.pretraining.network import TwoWayLanguageModel
from training.pretraining.windows import TwoWayWindow
from training.recipe import Recipe


class PretrainingModule(TrainingModule):
    """One window in, one loss out.

    Args:
        model: the network.
        recipe: the optimizer's settings and the learning rate's course.
        num_updates: windows of the whole stage.
        expected: float64 [V], how often each token is expected among a window's negatives.
    """

    model: TwoWayLanguageModel

    def __init__(
        self, model: TwoWayLanguageModel, recipe: Recipe, *, num_updates: int, expected: NDArray[np.float64]
    ) -> None:
        super().__init__(model, recipe, num_updates=num_updates)
        self.register_buffer("_log_expected", torch.from_numpy(np.log(expected)).float(), persistent=False)
        self._log_expected: Tensor

    def training_step(self, window: TwoWayWindow, _index: int) -> Tensor:
        """Mean loss of a window's targets, over both directions, in nats of the sampled softmax."""
        if window.position == 0 or self.state is None:
            self.state = self.model.zero_state(len(window.inputs[0]))
        found, state = self.model.vectors(window.inputs, self.state)
        self.state = state.detach()
        vectors = torch.cat([each.flatten(0, 1) for each in found])
        targets = torch.cat([each.flatten() for each in window.targets])
        counts = targets != IGNORED
        return self._loss(vectors[counts], targets[counts], window.negatives)

    def _loss(self, vectors: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
        """Mean over vectors [N, width] and targets [N], each against itself and the negatives [K]."""
        embedding = self.model.embedding
        bias = self.model.bias - self._log_expected
        right = (vectors * embedding(targets)).sum(dim=1) + bias[targets]
        wrong = vectors @ embedding(negatives).T + bias[negatives]
        wrong = wrong.masked_fill(targets.unsqueeze(1) == negatives, float("-inf"))
        logits = torch.cat([right.unsqueeze(1), wrong], dim=1)
        return cross_entropy(logits, targets.new_zeros(len(targets)))
