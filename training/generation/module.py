"""The language model's loss: cross entropy over a window, or over the answers of whole examples."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from models.network.language_model import LanguageModel
from training.generation.windows import IGNORED, Window
from training.stage import TrainingModule


class GenerationModule(TrainingModule):
    """See training.stage.TrainingModule.

    Args:
        model: the network.
        carries_state: from window to window; False where each batch begins with zeros.
        label_smoothing: share of the target's weight that all tokens share.
    """

    model: LanguageModel

    def __init__(self, model: LanguageModel, *, carries_state: bool = True, label_smoothing: float = 0.0) -> None:
        super().__init__(model)
        self._label_smoothing = label_smoothing
        self._carries_state = carries_state

    def forward(self, window: Window, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The mean loss of a window, and the state after it; the gradient does not reach into earlier windows."""
        if state is None:
            state = self.model.recurrent.zero_state(len(window.inputs))
        logits, state = self.model(window.inputs, state)
        targets = window.targets.flatten()
        loss = cross_entropy(logits.flatten(0, 1), targets, ignore_index=IGNORED, label_smoothing=self._label_smoothing)
        return loss, state.detach() if self._carries_state else None
