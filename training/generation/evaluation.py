"""The mean negative log likelihood of a text under a model, with the state carried from its first token to its last."""

import torch
from torch.nn.functional import cross_entropy

from models.network.language_model import LanguageModel
from training.generation.windows import IGNORED, Windows


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
