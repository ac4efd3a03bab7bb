"""The tagger's loss: cross entropy of every token with smoothed labels."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from models.network.tagger import Tagger
from training.generation.windows import IGNORED
from training.stage import TrainingModule
from training.tagging.batches import SentenceBatch


class TaggingModule(TrainingModule):
    """See training.stage.TrainingModule; no state is carried.

    Args:
        model: the network.
        label_smoothing: share of the label's weight that all classes share.
    """

    model: Tagger

    def __init__(self, model: Tagger, label_smoothing: float) -> None:
        super().__init__(model)
        self._label_smoothing = label_smoothing

    def forward(self, batch: SentenceBatch, _: Tensor | None) -> tuple[Tensor, None]:
        """The mean loss of the batch's tokens."""
        logits = self.model(batch.ids, batch.lengths).flatten(0, 1)
        labels = batch.labels.flatten()
        loss = cross_entropy(logits, labels, ignore_index=IGNORED, label_smoothing=self._label_smoothing)
        return loss, None
