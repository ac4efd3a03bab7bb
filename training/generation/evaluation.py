"""The mean negative log likelihood of a text under a model, its state carried from first token to last; of answers."""

import torch
from torch.nn.functional import cross_entropy

from models.network.language_model import LanguageModel
from training.generation.examples import Examples
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


def answers(model: LanguageModel, examples: Examples) -> tuple[float, float]:
    """How well a model answers, each answer's tokens given those before them.

    Leaves the model in the mode it was in and draws no random numbers.

    Args:
        model: on any device.
        examples: the questions with their answers.

    Returns:
        Mean of -ln p over the answers' tokens, in nats, and the share of answers whose every token is the likeliest,
        which are those that a greedy decode gives whole.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    total, num_targets, num_exact, num_examples = 0.0, 0, 0, 0
    with torch.no_grad():
        for batch in examples:
            targets = batch.targets.to(device)
            logits, _ = model(batch.inputs.to(device), model.recurrent.zero_state(len(targets)))
            losses = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
            total += float(losses.cpu().double().sum())
            num_targets += batch.num_targets
            num_exact += int(((logits.argmax(dim=-1) == targets) | (targets == IGNORED)).all(dim=1).sum())
            num_examples += len(targets)
    model.train(was_training)
    return total / num_targets, num_exact / num_examples
