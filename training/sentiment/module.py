"""The classifier as Lightning trains it: cross entropy with smoothed labels."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from models.network.classifier import Classifier
from training.module import TrainingModule
from training.sentiment.batches import TextBatch
from training.sentiment.recipe import SentimentRecipe


class SentimentModule(TrainingModule):
    """One batch in, one loss out.

    Args:
        model: the network.
        recipe: smoothing, the optimizer's settings and the learning rate's course.
        num_updates: batches of the whole run.
    """

    model: Classifier

    def __init__(self, model: Classifier, recipe: SentimentRecipe, *, num_updates: int) -> None:
        super().__init__(model, recipe, num_updates=num_updates)
        self._label_smoothing = recipe.label_smoothing

    def training_step(self, batch: TextBatch, _index: int) -> Tensor:
        """Mean loss of the batch's texts in nats."""
        logits = self.model(batch.ids, batch.lengths)
        return cross_entropy(logits, batch.labels, label_smoothing=self._label_smoothing)
