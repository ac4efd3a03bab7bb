"""The language model's loss: cross entropy over a window, with the state carried from window to window."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from models.network.language_model import LanguageModel
from training.generation.windows import IGNORED, Window
from training.stage import TrainingModule


class GenerationModule(TrainingModule):
    """See training.stage.TrainingModule; the state is carried from window to window."""

    model: LanguageModel

    def forward(self, window: Window, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """The mean loss of a window, and the state after it; the gradient does not reach into earlier windows."""
        if state is None:
            state = self.model.recurrent.zero_state(len(window.inputs))
        logits, state = self.model(window.inputs, state)
        return cross_entropy(logits.flatten(0, 1), window.targets.flatten(), ignore_index=IGNORED), state.detach()
