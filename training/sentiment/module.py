"""The classifier's loss: cross entropy with smoothed labels."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from models.network.classifier import Classifier
from training.sentiment.batches import TextBatch
from training.stage import TrainingModule


class SentimentModule(TrainingModule):
    """See training.stage.TrainingModule; no state is carried.

    Args:
        model: the network.
        label_smoothing: share of the label's weight that all classes share.
    """

    model: Classifier

    def __init__(self, model: Classifier, label_smoothing: float) -> None:
        super().__init__(model)
        self._label_smoothing = label_smoothing

    def forward(self, batch: TextBatch, _: Tensor | None) -> tuple[Tensor, None]:
        """The mean loss of the batch's texts."""
        logits = self.model(batch.ids, batch.lengths)
        return cross_entropy(logits, batch.labels, label_smoothing=self._label_smoothing), None
