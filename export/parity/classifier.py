"""Proof that a classifier's graph set answers as PyTorch does, on ragged batches of many shapes.

Among themselves: alone = in a batch, whatever the padding holds.
"""

import numpy as np
from numpy.typing import NDArray

from export.backends.padding import padded
from export.backends.runner import SequenceRunner
from export.parity.tolerance import FP32_TOLERANCE, INT8_PROBABILITY_TOLERANCE, Errors
from export.parity.translator import ragged_sources
from export.report import Check, Report
from export.trace.reference import ClassifierReference
from models.classifier_config import ClassifierConfig

Floats = NDArray[np.float32]


def verify_classifier(
    set_name: str, runner: SequenceRunner, config: ClassifierConfig, reference: ClassifierReference
) -> Report:
    """Run every check of one graph set.

    Args:
        set_name: decides the tolerances: fp32 or int8.
        runner: over classify.
        config: the architecture.
        reference: PyTorch's answers from the same weights.
    """
    errors = Errors()
    by_company = by_padding = 0
    differences, agreements = [], []
    for texts in ragged_sources(config.vocab_size):
        ids, lengths = padded(texts)
        found: Floats = runner.run("classify", {"ids": ids, "lengths": lengths})["logits"]
        expected = reference.classify(ids, lengths)
        errors.add(found, expected)
        differences.append(np.abs(_softmax(found) - _softmax(expected)).max(axis=1))
        agreements.append(found.argmax(axis=1) == expected.argmax(axis=1))
        other = np.where(np.arange(ids.shape[1]) < lengths[:, None], ids, config.vocab_size - 1)
        padded_otherwise = runner.run("classify", {"ids": other, "lengths": lengths})["logits"]
        by_padding += int((padded_otherwise != found).any(axis=1).sum())
        for row, text in enumerate(texts):
            own_ids, own_lengths = padded([text])
            alone = runner.run("classify", {"ids": own_ids, "lengths": own_lengths})["logits"][0]
            by_company += not np.array_equal(alone, found[row])
    difference = float(np.concatenate(differences).mean())
    checks = [
        Check("rows_changed_by_company", by_company, 0),
        Check("rows_changed_by_padding", by_padding, 0),
    ]
    facts = {"mean_error": errors.mean, "argmax_agreement": float(np.concatenate(agreements).mean())}
    if set_name == "int8":
        checks.append(Check("mean_probability_difference", difference, INT8_PROBABILITY_TOLERANCE))
        facts["worst_error"] = errors.worst
    else:
        checks.append(Check("worst_error", errors.worst, FP32_TOLERANCE))
        facts["mean_probability_difference"] = difference
    return Report(set_name, tuple(checks), facts)


def _softmax(logits: Floats) -> Floats:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = shares / shares.sum(axis=1, keepdims=True)
    return result
