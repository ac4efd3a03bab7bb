"""Pre-training as a stage of a run: predict the next and the previous token, before any label is read."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from models.config import RecurrentConfig
from models.network.tagger import FieldEmbedding
from training.generation.windows import IGNORED, Windows
from training.recipe import AverageSection, Recipe, RegularizationSection
from training.sentiment.pretraining_module import PretrainingModule, TwoWayLanguageModel, TwoWayWindows
from training.sentiment.recipe import PretrainingSection
from training.shard import Shard
from training.stage import Stage, Validation

_DISTORTION = 0.75  # negatives are drawn by frequency to this power (Mikolov et al. 2013b, section 2.2)
_LANES = 8  # of the validation text
_TIME = 128

Ids = NDArray[np.int64]


class PretrainingStage(Stage[Recipe]):
    """See training.stage.Stage.

    Args:
        recipe: of the whole run.
        section: of this stage.
        recurrent: the classifier's stack.
        vocab_size: V.
        texts: token ids of the training texts, read one after the other.
        validation: token ids of texts that are not among them.
        embedding: of a tagger's tokens, whose ids are in mixed radix; None: one of V tokens.
        without_next: takes out of such ids what they say of the next token, which the first direction is to guess.
    """

    unit: ClassVar[str] = "token"
    module: PretrainingModule

    def __init__(
        self,
        recipe: Recipe,
        section: PretrainingSection,
        recurrent: RecurrentConfig,
        vocab_size: int,
        *,
        texts: Sequence[Sequence[int]],
        validation: Sequence[Sequence[int]],
        embedding: FieldEmbedding | None = None,
        without_next: Callable[[Ids], Ids] = lambda ids: ids,
    ) -> None:
        own = {
            "epochs": section.epochs,
            "optimizer": section.optimizer,
            "schedule": section.schedule,
            "patience": None,
            "average": AverageSection(),
            "regularization": RegularizationSection(),
        }
        self.recipe = recipe.model_copy(update=own)
        ids = np.concatenate([np.asarray(text, np.int64) for text in texts])
        counts = np.bincount(ids % vocab_size, minlength=vocab_size)
        weights = np.asarray((counts + 1.0) ** _DISTORTION, np.float64)
        weights /= weights.sum()
        self.num_tokens = len(ids)
        self.batches = TwoWayWindows(
            ids,
            directions=recurrent.num_directions,
            lanes=section.lanes,
            length=section.window,
            weights=weights,
            negatives=section.negatives,
            seed=recipe.seed,
            from_left=without_next(ids),
        )
        self.module = PretrainingModule(
            TwoWayLanguageModel(recurrent, counts.tolist(), section.dropout, embedding),
            expected=np.asarray(weights * section.negatives, np.float64),
        )
        held_out = np.concatenate([np.asarray(text, np.int64) for text in validation])
        sides = (without_next(held_out), np.ascontiguousarray(held_out[::-1]))[: recurrent.num_directions]
        self._validation = [Windows(side, lanes=_LANES, length=_TIME) for side in sides]

    def validate(self, shard: Shard) -> Validation:
        """Nats per token over the whole vocabulary, the mean of both directions.

        One process reads the whole text, in few lanes: more would each begin without a state.
        """
        total, count = shard.total(self._nats_and_targets() if shard.rank == 0 else (0.0, 0.0))
        return Validation({"validation_nats_per_token": total / count}, rank=(total,))

    def _nats_and_targets(self) -> tuple[float, float]:
        model = self.module.model
        was_training = model.training
        model.eval()
        device = model.bias.device
        total, count = 0.0, 0.0
        with torch.no_grad():
            state = model.zero_state(_LANES)
            for windows in zip(*self._validation, strict=True):
                found, state = model.vectors([window.inputs.to(device) for window in windows], state)
                for vectors, window in zip(found, windows, strict=True):
                    targets = window.targets.to(device).flatten()
                    targets = torch.where(targets == IGNORED, targets, targets % len(model.bias))
                    logits = model.logits(vectors).flatten(0, 1)
                    total += float(cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum").cpu())
                    count += window.num_targets
        model.train(was_training)
        return total, count
