"""The tagger's loss: cross entropy of every token with smoothed labels, or with a CRF that of whole sentences."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.crf import allowed_transitions
from models.network.crf import negative_log_likelihood
from models.network.tagger import Tagger
from training.generation.windows import IGNORED
from training.stage import TrainingModule
from training.tagging.batches import SentenceBatch


class TaggingModule(TrainingModule):
    """See training.stage.TrainingModule; no state is carried.

    Args:
        model: the network.
        labels: by class.
        label_smoothing: share of the label's weight that all classes share; without effect on a CRF.
    """

    model: Tagger

    def __init__(self, model: Tagger, labels: Sequence[str], label_smoothing: float) -> None:
        super().__init__(model)
        self.register_buffer("_allowed", torch.from_numpy(allowed_transitions(labels)), persistent=False)
        self._allowed: Tensor
        self._label_smoothing = label_smoothing

    def forward(self, batch: SentenceBatch, _: Tensor | None) -> tuple[Tensor, None]:
        """The mean loss of the batch's tokens; a sentence's loss counts as that of its tokens."""
        logits = self.model(batch.ids, batch.lengths)
        transitions = self.model.transitions
        if transitions is not None:
            nats = negative_log_likelihood(logits, transitions, self._allowed, batch.labels, batch.lengths)
            return nats.sum() / batch.lengths.sum(), None
        labels = batch.labels.flatten()
        loss = cross_entropy(logits.flatten(0, 1), labels, ignore_index=IGNORED, label_smoothing=self._label_smoothing)
        return loss, None
