"""What the tasks whose models read a whole text in one call have in common: the graph, and the proof that it answers as
PyTorch does on ragged batches of many shapes.

Among themselves: alone = in a batch, whatever the padding holds.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from export.onnx.rewrite.graph_sets import graph_set_from_traced
from export.parity.errors import Errors
from export.parity.texts import SOURCES, ragged_texts
from export.trace.reference import WholeTextReference, with_weights
from export.trace.whole_text import whole_text_graphs
from models.bundle import Bundle
from models.crf import Crf
from models.network.classifier import Classifier
from models.network.tagger import Tagger
from runtime.opening import OpenGraphs
from runtime.padding import padded
from runtime.runner import SequenceRunner

Floats = NDArray[np.float32]


class Quantized(Protocol):
    """A model in int8."""

    notes: dict[str, Any]

    def graphs(self) -> dict[str, onnx.ModelProto]:
        """Its graphs by name."""


class WholeTextArchitecture:
    """See Architecture.

    Args:
        bundle: the model.
        model: its network, of any weights.
        num_ids: ids that it knows.
        graph: the name of its one graph.
        quantize: gives the model in int8.
    """

    def __init__(
        self,
        bundle: Bundle,
        model: Classifier | Tagger,
        num_ids: int,
        graph: str,
        quantize: Callable[[dict[str, Floats]], Quantized],
    ) -> None:
        self._bundle = bundle
        self._model = with_weights(model, bundle)
        self._num_ids = num_ids
        self._graph = graph
        self._quantize = quantize

    def graphs(self, set_name: str) -> tuple[dict[str, onnx.ModelProto], dict[str, Any]]:
        """See Architecture.graphs."""
        if set_name == "int8":
            quantized = self._quantize(self._bundle.weights())
            return quantized.graphs(), quantized.notes
        return graph_set_from_traced(set_name, self._traced), {}

    @cached_property
    def _traced(self) -> dict[str, onnx.ModelProto]:
        return whole_text_graphs(self._model, self._graph)

    @property
    def _reference(self) -> WholeTextReference:
        return WholeTextReference(self._model, self._num_ids)

    def figures(self, opened: OpenGraphs, texts: list[list[int]] | None = None) -> dict[str, float]:
        """See Architecture.figures."""
        runner = opened.sequences()
        return whole_text_figures(runner, self._graph, self._num_ids, self._reference, texts, self._bundle.crf)

    def relu_states(self) -> list[NDArray[np.float32]]:
        """See Architecture.relu_states."""
        return self._reference.relu_states()


def whole_text_figures(
    runner: SequenceRunner,
    graph: str,
    num_ids: int,
    reference: WholeTextReference,
    texts: list[list[int]] | None = None,
    crf: Crf | None = None,
) -> dict[str, float]:
    """Measure one graph set.

    Args:
        runner: over the graph.
        graph: its name; its logits are those of each text, or of each of its tokens.
        num_ids: ids that it knows.
        reference: PyTorch's answers from the same weights.
        texts: a user's, token ids; None for random ones alone.
        crf: of a tagger with one: what is compared is then the labels that it finds and their marginal probabilities.

    Returns:
        Figures by name; what they may be is in export.parity.limits.
    """
    errors = Errors()
    by_batch = by_padding = 0
    differences, agreements = [], []

    def answers(ids: NDArray[np.int64], lengths: NDArray[np.int32]) -> Floats:
        logits: Floats = runner.run(graph, {"ids": ids, "lengths": lengths})["logits"]
        return logits

    for batch in [*ragged_texts(num_ids, 0, SOURCES), *([] if texts is None else [texts])]:
        ids, lengths = padded(batch)
        is_token = np.arange(ids.shape[1]) < lengths[:, None]
        found = answers(ids, lengths)
        own = is_token if found.ndim == 3 else np.ones(len(batch), np.bool_)  # which rows of logits mean something
        expected = reference.answer(ids, lengths)[own]

        def precise(
            ids: NDArray[np.int64] = ids, lengths: NDArray[np.int32] = lengths, own: NDArray[np.bool_] = own
        ) -> Floats:
            logits: Floats = reference.answer(ids, lengths, is_precise=True)[own]
            return logits

        errors.add(found[own], expected, precise)
        if texts is None or batch is texts:
            both = [_decoded(logits, lengths, crf) for logits in (found[own], expected)]
            differences.append(np.abs(both[0][1] - both[1][1]).max(axis=1))
            agreements.append(both[0][0] == both[1][0])
        padded_otherwise = answers(np.where(is_token, ids, num_ids - 1), lengths)
        for row, text in enumerate(batch):
            kept = slice(None) if found.ndim == 2 else slice(len(text))
            by_padding += not np.array_equal(padded_otherwise[row][kept], found[row][kept])
            by_batch += not np.array_equal(answers(*padded([text]))[0][kept], found[row][kept])
    return {
        "rows_changed_by_batch": by_batch,
        "rows_changed_by_padding": by_padding,
        "worst_error": errors.worst,
        "mean_error": errors.mean,
        "argmax_agreement": float(np.concatenate(agreements).mean()),
        "mean_probability_difference": float(np.concatenate(differences).mean()),
    }


def _decoded(logits: Floats, lengths: NDArray[np.int32], crf: Crf | None) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The class of each row of logits [N, C], int64 [N], and every class's probability, float [N, C].

    With a CRF the rows are the tokens of sentences of these lengths, one after the other.
    """
    if crf is None:
        return logits.argmax(axis=1), _softmax(logits)
    sentences = np.split(logits, np.cumsum(lengths)[:-1])
    return np.concatenate([*map(crf.best, sentences)]), np.concatenate([*map(crf.marginals, sentences)])


def _softmax(logits: Floats) -> Floats:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = shares / shares.sum(axis=1, keepdims=True)
    return result
