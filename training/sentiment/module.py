"""The classifier's loss: cross entropy with smoothed labels, or with the probabilities that teachers give."""

from collections.abc import Sequence

from torch import Tensor, tensor
from torch.nn.functional import cross_entropy

from models.network.classifier import Classifier
from training.sentiment.batches import TextBatch
from training.stage import TrainingModule


class SentimentModule(TrainingModule):
    """See training.stage.TrainingModule; no state is carried.

    Args:
        model: the network.
        label_smoothing: share of the label's weight that all classes share.
        class_weights: of each class, what a text of it weighs in the loss; None: 1.
    """

    model: Classifier

    class_weights: Tensor | None

    def __init__(self, model: Classifier, label_smoothing: float, class_weights: Sequence[float] | None = None) -> None:
        super().__init__(model)
        self._label_smoothing = label_smoothing
        weights = None if class_weights is None else tensor(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, batch: TextBatch, _: Tensor | None) -> tuple[Tensor, None]:
        """The mean loss of the batch's texts."""
        logits = self.model(batch.ids, batch.lengths)
        targets = batch.labels if batch.targets is None else batch.targets
        if self.class_weights is None:
            return cross_entropy(logits, targets, label_smoothing=self._label_smoothing), None
        losses = cross_entropy(logits, targets, label_smoothing=self._label_smoothing, reduction="none")
        return (losses * self.class_weights[batch.labels]).mean(), None
