"""The language model as Lightning trains it: truncated backpropagation through time with the state carried on."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from models.network.language_model import LanguageModel
from training.language_model.windows import IGNORED, Window
from training.module import TrainingModule
from training.recipe import Recipe


class LanguageModelModule(TrainingModule):
    """One window in, one loss out.

    Attributes:
        model: the network.
        state: float32 [lanes, D], each lane's state after the last window, detached; None before any.

    Args:
        model: the network.
        recipe: the optimizer's settings and the learning rate's course.
        num_updates: windows of the whole run.
    """

    model: LanguageModel

    def __init__(self, model: LanguageModel, recipe: Recipe, *, num_updates: int) -> None:
        super().__init__(model, recipe, num_updates=num_updates)

    def training_step(self, window: Window, _index: int) -> Tensor:
        """Mean loss of a window in nats; the state before it is the state after the one before, without its graph."""
        if window.position == 0 or self.state is None:
            self.state = self.model.recurrent.zero_state(len(window.inputs))
        logits, state = self.model(window.inputs, self.state)
        self.state = state.detach()
        return cross_entropy(logits.flatten(0, 1), window.targets.flatten(), ignore_index=IGNORED)
