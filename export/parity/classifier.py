"""Proof that a classifier's graph set answers as PyTorch does, on ragged batches of many shapes.

Among themselves: alone = in a batch, whatever the padding holds.
"""

import numpy as np
from numpy.typing import NDArray

from export.parity.errors import Errors
from export.parity.translator import ragged_sources
from export.trace.reference import ClassifierReference
from models.config import ClassifierConfig
from runtime.padding import padded
from runtime.runner import SequenceRunner

Floats = NDArray[np.float32]


def verify_classifier(
    runner: SequenceRunner,
    config: ClassifierConfig,
    reference: ClassifierReference,
    texts: list[list[int]] | None = None,
) -> dict[str, float]:
    """Measure one graph set.

    Args:
        runner: over classify.
        config: the architecture.
        reference: PyTorch's answers from the same weights.
        texts: a user's, token ids; None for random ones alone.

    Returns:
        Figures by name; what they may be is in export.parity.limits.
    """
    errors = Errors()
    by_company = by_padding = 0
    differences, agreements = [], []
    for batch in [*ragged_sources(config.vocab_size), *([] if texts is None else [texts])]:
        ids, lengths = padded(batch)
        found: Floats = runner.run("classify", {"ids": ids, "lengths": lengths})["logits"]
        expected = reference.classify(ids, lengths)
        errors.add(found, expected)
        if texts is None or batch is texts:
            differences.append(np.abs(_softmax(found) - _softmax(expected)).max(axis=1))
            agreements.append(found.argmax(axis=1) == expected.argmax(axis=1))
        other = np.where(np.arange(ids.shape[1]) < lengths[:, None], ids, config.vocab_size - 1)
        padded_otherwise = runner.run("classify", {"ids": other, "lengths": lengths})["logits"]
        by_padding += int((padded_otherwise != found).any(axis=1).sum())
        for row, text in enumerate(batch):
            own_ids, own_lengths = padded([text])
            alone = runner.run("classify", {"ids": own_ids, "lengths": own_lengths})["logits"][0]
            by_company += not np.array_equal(alone, found[row])
    return {
        "rows_changed_by_company": by_company,
        "rows_changed_by_padding": by_padding,
        "worst_error": errors.worst,
        "mean_error": errors.mean,
        "argmax_agreement": float(np.concatenate(agreements).mean()),
        "mean_probability_difference": float(np.concatenate(differences).mean()),
    }


def _softmax(logits: Floats) -> Floats:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = shares / shares.sum(axis=1, keepdims=True)
    return result
