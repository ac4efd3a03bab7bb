"""How good a classifier is: accuracy, macro-F1, nats per text, and and confusion counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from models.network.classifier import Classifier
from training.buckets import in_order
from training.sentiment.batches import EncodedText, batch_of
from training.shard import ALONE, Shard

TEXTS = 32  # read at once; the figures do not depend on it


@dataclass(frozen=True)
class Scores:
    """Of a whole part."""

    nats: float  # mean of -ln p(label)
    counts: NDArray[np.int64]  # [C, C]: texts of class i that were taken for class j

    @property
    def accuracy(self) -> float:
        """Share of the texts whose likeliest class is their label."""
        return float(np.trace(self.counts) / self.counts.sum())

    @property
    def macro_f1(self) -> float:
        """Mean over the classes of 2 TP / (2 TP + FP + FN); a class that neither occurs nor is given counts as 0."""
        hits = np.diag(self.counts)
        either = self.counts.sum(axis=0) + self.counts.sum(axis=1)
        return float(np.mean(2 * hits / np.maximum(either, 1)))


def scores(model: Classifier, texts: Sequence[EncodedText], shard: Shard = ALONE) -> Scores:
    """Of the texts, each read whole.

    Leaves the model in the mode it was in and draws no random numbers. Of several processes each reads some batches.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    num_classes = model.config.num_classes
    counts = np.zeros((num_classes, num_classes), np.int64)
    total = 0.0
    with torch.no_grad():
        for indices in shard.of(in_order([(len(text.ids),) for text in texts], TEXTS)):
            batch = batch_of([texts[i] for i in indices.tolist()])
            logits = model(batch.ids.to(device), batch.lengths.to(device)).cpu()
            total += float(cross_entropy(logits, batch.labels, reduction="none").double().sum())
            np.add.at(counts, (batch.labels.numpy(), logits.argmax(dim=1).numpy()), 1)
    model.train(was_training)
    total, *flat = shard.total([total, *map(float, counts.flat)])
    return Scores(total / len(texts), np.asarray(flat, np.int64).reshape(counts.shape))
