"""The translator's loss: teacher forcing, cross entropy with smoothed labels."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from models.network.translator import Translator
from training.stage import TrainingModule
from training.translation.batches import IGNORED, PairBatch


class TranslationModule(TrainingModule):
    """See training.stage.TrainingModule; no state is carried.

    Args:
        model: the network.
        label_smoothing: share of the target's weight that all tokens share.
    """

    model: Translator

    def __init__(self, model: Translator, label_smoothing: float) -> None:
        super().__init__(model)
        self._label_smoothing = label_smoothing

    def forward(self, batch: PairBatch, _: Tensor | None) -> tuple[Tensor, None]:
        """The mean loss of the batch's target tokens."""
        logits = self.model(batch.ids, batch.lengths, batch.inputs)
        loss = cross_entropy(
            logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED, label_smoothing=self._label_smoothing
        )
        return loss, None
