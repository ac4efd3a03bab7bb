"""The translator as Lightning trains it: teacher forcing, cross entropy with smoothed labels."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from models.network.translator import Translator
from training.module import TrainingModule
from training.translation.batches import IGNORED, PairBatch
from training.translation.recipe import TranslationRecipe


class TranslationModule(TrainingModule):
    """One batch in, one loss out.

    Args:
        model: the network.
        recipe: smoothing, the optimizer's settings and the learning rate's course.
        num_updates: batches of the whole run.
    """

    model: Translator

    def __init__(self, model: Translator, recipe: TranslationRecipe, *, num_updates: int) -> None:
        super().__init__(model, recipe, num_updates=num_updates)
        self._label_smoothing = recipe.label_smoothing

    def training_step(self, batch: PairBatch, _index: int) -> Tensor:
        """Mean loss of the batch's target tokens in nats."""
        logits = self.model(batch.ids, batch.lengths, batch.inputs)
        return cross_entropy(
            logits.flatten(0, 1),
            batch.targets.flatten(),
            ignore_index=IGNORED,
            label_smoothing=self._label_smoothing,
        )
