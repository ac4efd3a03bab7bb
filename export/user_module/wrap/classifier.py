"""A user's classifier, forward(ids, lengths) -> logits, behind the graph classify.

ids int64 [batch, time], lengths int64 [batch]; logits float32 [batch, C]. One logit for each text, [batch, 1] or
[batch], is that of the second of two classes, as binary_cross_entropy_with_logits has it.
"""

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.user_module.wrap.calls import called, check_arguments, rows_by_length, traced_for
from export.user_module.wrap.longest import SERVED, check_longest
from export.user_module.wrap.refused_logits import check_logits
from models.errors import UnsupportedModelError

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Lengths = NDArray[np.int32]

_SHAPES_ONLY = ("Squeeze", "View", "Select", "Unsqueeze", "UnsafeView", "Reshape")


class UserClassifier(nn.Module):
    """The module with a logit for each class.

    Args:
        module: the user's.
        num_logits: how many it gives, 1 for two classes.
        longest: where the tokenizer cuts texts, in tokens; None where it does not.
    """

    def __init__(self, module: nn.Module, num_logits: int, longest: int | None = None) -> None:
        super().__init__()
        self.longest = longest
        self.module = module
        self.num_logits = num_logits

    @property
    def num_classes(self) -> int:
        """C."""
        return max(2, self.num_logits)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits, float32 [batch, C]."""
        logits: Tensor = self.module(ids, lengths.to(torch.int64))
        if self.num_logits > 1:
            return logits
        logits = logits.reshape(-1, 1)
        return torch.cat([torch.zeros_like(logits), logits], dim=1)

    def graphs(self) -> dict[str, onnx.ModelProto]:
        """Trace it.

        Raises:
            ExportError: PyTorch cannot trace the module, or its code freezes an axis.
        """
        ids = torch.zeros(3, 23, dtype=torch.int64)
        lengths = torch.tensor([23, 7, 1], dtype=torch.int32)
        inputs = {"ids": (ids, {0: "batch", 1: "time"}), "lengths": (lengths, {0: "batch"})}
        longest = {} if self.longest is None else {"time": self.longest}
        return {"classify": traced_for(self.module, self, "classify", inputs, ["logits"], longest)}


def user_classifier(module: nn.Module, vocab_size: int, longest: int | None = None) -> UserClassifier:
    """Look at what a module takes and gives.

    Args:
        module: the user's, in eval mode.
        vocab_size: V, of the tokenizer.
        longest: where the tokenizer cuts texts, in tokens; None where it does not.

    Raises:
        ExportError: the module fails, or gives something that cannot be served; the message says which.
    """
    who = f"{type(module).__name__}.forward"
    check_arguments(who, module.forward, "ids, lengths")
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocab_size, (17, 9), generator=generator)
    value = called(who, module, ids, torch.full((17,), 9))
    logits = check_logits(who, value, {2: "[batch, classes]", 1: "[batch]"}, 17)
    num_logits = logits.shape[1] if logits.dim() == 2 else 1
    if num_logits == 1 and _ends_in_sigmoid(module, ids):
        raise UnsupportedModelError(f"{who} gives a probability for each text. Give the logit before the sigmoid.")
    check_longest(
        who,
        lambda length: called(who, module, torch.randint(vocab_size, (1, length)), torch.tensor([length])),
        min(longest or SERVED["sentiment"], SERVED["sentiment"]),
        "Make its tables long enough or clamp positions, or let the tokenizer cut texts before that: "
        "tokenizer.enable_truncation(LENGTH).",
    )
    return UserClassifier(module, num_logits, longest)


def _ends_in_sigmoid(module: nn.Module, ids: Tensor) -> bool:
    """Whether the last thing computed is a sigmoid, as far as gradients tell."""
    with torch.enable_grad():
        step = module(ids, torch.full((len(ids),), ids.shape[1])).grad_fn
    while step is not None and step.name().startswith(_SHAPES_ONLY):
        step = step.next_functions[0][0]
    return step is not None and step.name().startswith("Sigmoid")


class ClassifierAnswers:
    """PyTorch's answers in numpy arrays, eager.

    Args:
        model: the user's.
    """

    def __init__(self, model: UserClassifier) -> None:
        self._model = model

    @property
    def longest(self) -> int | None:
        """Where the tokenizer cuts texts, in tokens."""
        return self._model.longest

    def classify(self, ids: Ids, lengths: Lengths) -> Floats:
        """Logits, float32 [batch, C]."""
        order, back = rows_by_length(torch.from_numpy(lengths))
        arguments = [torch.from_numpy(array)[order] for array in (ids, lengths)]
        logits: Floats = called(type(self._model.module).__name__, self._model, *arguments)[back].numpy()
        return logits
