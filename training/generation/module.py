"""The language model's loss, and its mean over a text with the state carried from the first token to the last."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.network.language_model import LanguageModel
from training.generation.windows import IGNORED, Window, Windows
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


def mean_nats(model: LanguageModel, windows: Windows) -> float:
    """Mean of -ln p(token | all tokens before it in its lane), in nats, over all targets.

    Leaves the model in the mode it was in and draws no random numbers.

    Args:
        model: on any device.
        windows: the text; with one lane, every token but the first is predicted from everything before it.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    total = 0.0
    with torch.no_grad():
        state = model.recurrent.zero_state(windows.lanes)
        for window in windows:
            logits, state = model(window.inputs.to(device), state)
            losses = cross_entropy(
                logits.flatten(0, 1), window.targets.to(device).flatten(), ignore_index=IGNORED, reduction="none"
            )
            total += float(losses.cpu().double().sum())
    model.train(was_training)
    return total / windows.num_targets
