"""A user's classifier, forward(ids, lengths) -> logits, behind the graph classify.

ids int64 [batch, time], lengths int64 [batch]; logits float32 [batch, C]. One logit for each text, [batch, 1] or
[batch], is that of the second of two classes, as binary_cross_entropy_with_logits has it.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from export.user_module.wrap.batch import BatchModel, check_text_length, random_texts
from export.user_module.wrap.calls import called, check_arguments, check_repeats
from export.user_module.wrap.native import Native, native_classifier
from export.user_module.wrap.refused_logits import check_logits
from models.errors import UnsupportedModelError
from models.tasks import SENTIMENT

if TYPE_CHECKING:
    from export.tasks.task import WrapFacts

_SHAPES_ONLY = ("Squeeze", "View", "Select", "Unsqueeze", "UnsafeView", "Reshape")


class UserClassifier(BatchModel):
    """The module with a logit for each class.

    Args:
        module: the user's.
        facts: what it is wrapped with.
        num_logits: how many it gives, 1 for two classes.
    """

    def __init__(self, module: nn.Module, facts: "WrapFacts", num_logits: int) -> None:
        super().__init__(module, SENTIMENT, facts, max(2, num_logits))
        self.num_logits = num_logits

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits, float32 [batch, C]."""
        logits = super().forward(ids, lengths)
        if self.num_logits > 1:
            return logits
        logits = logits.reshape(-1, 1)
        return torch.cat([torch.zeros_like(logits), logits], dim=1)

    def native(self) -> Native:
        """See UserModel.native."""
        return native_classifier(self)


def user_classifier(module: nn.Module, facts: "WrapFacts") -> UserClassifier:
    """Look at what a module takes and gives.

    Args:
        module: the user's, in eval mode.
        facts: what it is wrapped with.

    Raises:
        ExportError: the module fails, or gives something that cannot be served; the message says which.
    """
    who = f"{type(module).__name__}.forward"
    check_arguments(who, module.forward, "ids, lengths")
    ids, lengths = random_texts(facts.vocab_size)
    check_repeats(who, module, ids, lengths)
    logits = check_logits(who, called(who, module, ids, lengths), {2: "[batch, classes]", 1: "[batch]"}, 17)
    num_logits = logits.shape[1] if logits.dim() == 2 else 1
    if num_logits == 1 and _ends_in_sigmoid(module, ids):
        raise UnsupportedModelError(f"{who} gives a probability for each text. Give the logit before the sigmoid.")
    check_text_length(who, module, SENTIMENT, facts)
    return UserClassifier(module, facts, num_logits)


def _ends_in_sigmoid(module: nn.Module, ids: Tensor) -> bool:
    """Whether the last thing computed is a sigmoid, as far as gradients show."""
    with torch.enable_grad():
        step = module(ids, torch.full((len(ids),), ids.shape[1])).grad_fn
    while step is not None and step.name().startswith(_SHAPES_ONLY):
        step = step.next_functions[0][0]
    return step is not None and step.name().startswith("Sigmoid")
