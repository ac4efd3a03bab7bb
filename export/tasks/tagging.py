"""Tagging: the tagger's graph, and the proof that it answers as PyTorch does on ragged batches of many shapes.

Among themselves: alone = in a batch, whatever the padding holds.
"""

from functools import cached_property, partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.onnx.int8.tagger import QuantizedTagger
from export.onnx.rewrite.graph_sets import graph_set_from_traced
from export.parity.errors import Errors
from export.parity.texts import SOURCES, ragged_texts
from export.tasks.task import TaskExport
from export.trace.reference import TaggerReference, with_weights
from export.trace.tagger import tagger_graphs
from export.user_module.wrap.batch import batch_figures, user_batch_model
from models.bundle import Bundle
from models.config import TaggerConfig
from models.network.tagger import Tagger
from runtime.opening import OpenGraphs
from runtime.padding import padded
from runtime.runner import SequenceRunner

Floats = NDArray[np.float32]


class TaggerArchitecture:
    """See Architecture.

    Args:
        bundle: the model.
        config: its architecture.
    """

    def __init__(self, bundle: Bundle, config: TaggerConfig) -> None:
        self._bundle = bundle
        self._config = config
        self._model = with_weights(Tagger(config), bundle)

    def graphs(self, set_name: str) -> tuple[dict[str, onnx.ModelProto], dict[str, Any]]:
        """See Architecture.graphs."""
        if set_name == "int8":
            quantized = QuantizedTagger(self._config, self._bundle.weights())
            return quantized.graphs(), quantized.notes
        return graph_set_from_traced(set_name, self._traced), {}

    @cached_property
    def _traced(self) -> dict[str, onnx.ModelProto]:
        return tagger_graphs(self._model)

    def figures(self, opened: OpenGraphs, texts: list[list[int]] | None = None) -> dict[str, float]:
        """See Architecture.figures."""
        return verify_tagger(opened.sequences(), self._config, TaggerReference(self._model), texts)

    def relu_states(self) -> list[NDArray[np.float32]]:
        """See Architecture.relu_states."""
        return TaggerReference(self._model).relu_states()


def verify_tagger(
    runner: SequenceRunner, config: TaggerConfig, reference: TaggerReference, texts: list[list[int]] | None = None
) -> dict[str, float]:
    """Measure one graph set.

    Args:
        runner: over tag.
        config: the architecture.
        reference: PyTorch's answers from the same weights.
        texts: a user's, token ids; None for random ones alone.

    Returns:
        Figures by name; what they may be is in export.parity.limits.
    """
    errors = Errors()
    by_batch = by_padding = 0
    differences, agreements = [], []
    for batch in [*ragged_texts(config.num_ids, 0, SOURCES), *([] if texts is None else [texts])]:
        ids, lengths = padded(batch)
        found: Floats = runner.run("tag", {"ids": ids, "lengths": lengths})["logits"]
        expected = reference.tag(ids, lengths)
        is_own = np.arange(ids.shape[1]) < lengths[:, None]
        errors.add(found[is_own], expected[is_own], partial(_precise, reference, ids, lengths, is_own))
        if texts is None or batch is texts:
            differences.append(np.abs(_softmax(found[is_own]) - _softmax(expected[is_own])).max(axis=1))
            agreements.append(found[is_own].argmax(axis=1) == expected[is_own].argmax(axis=1))
        other = np.where(is_own, ids, config.num_ids - 1)
        padded_otherwise = runner.run("tag", {"ids": other, "lengths": lengths})["logits"]
        by_padding += int(((padded_otherwise != found).any(axis=2) & is_own).any(axis=1).sum())
        for row, text in enumerate(batch):
            own_ids, own_lengths = padded([text])
            alone = runner.run("tag", {"ids": own_ids, "lengths": own_lengths})["logits"][0, : len(text)]
            by_batch += not np.array_equal(alone, found[row, : len(text)])
    return {
        "rows_changed_by_batch": by_batch,
        "rows_changed_by_padding": by_padding,
        "worst_error": errors.worst,
        "mean_error": errors.mean,
        "argmax_agreement": float(np.concatenate(agreements).mean()),
        "mean_probability_difference": float(np.concatenate(differences).mean()),
    }


def _precise(
    reference: TaggerReference, ids: NDArray[np.int64], lengths: NDArray[np.int32], is_own: NDArray[np.bool_]
) -> Floats:
    logits: Floats = reference.tag(ids, lengths, is_precise=True)[is_own]
    return logits


def _softmax(logits: Floats) -> Floats:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = shares / shares.sum(axis=1, keepdims=True)
    return result


EXPORT = TaskExport("tagging", partial(user_batch_model, "tagging"), batch_figures, TaggerArchitecture)
