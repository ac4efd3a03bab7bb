"""The classifier: classify."""

from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.onnx.int8.classifier import QuantizedClassifier
from export.onnx.rewrite.graph_sets import graph_set_from_traced
from export.parity.backends import OpenGraphs
from export.parity.classifier import verify_classifier
from export.tasks.architecture import golden_ids
from export.trace.classifier import classifier_graphs
from export.trace.reference import ClassifierReference, with_weights
from models.bundle import Bundle
from models.config import ClassifierConfig
from models.graph_set import Golden
from models.network.classifier import Classifier
from runtime.golden import classifier_answer


class ClassifierArchitecture:
    """See Architecture.

    Args:
        bundle: the model.
        config: its architecture.
    """

    def __init__(self, bundle: Bundle, config: ClassifierConfig) -> None:
        self._bundle = bundle
        self._config = config
        self._model = with_weights(Classifier(config), bundle)

    def graphs(self, set_name: str) -> tuple[dict[str, onnx.ModelProto], dict[str, Any]]:
        """See Architecture.graphs."""
        if set_name == "int8":
            quantized = QuantizedClassifier(self._config, self._bundle.weights())
            return quantized.graphs(), quantized.notes
        return graph_set_from_traced(set_name, self._traced), {}

    @cached_property
    def _traced(self) -> dict[str, onnx.ModelProto]:
        return classifier_graphs(self._model)

    def figures(self, opened: OpenGraphs, texts: list[list[int]] | None = None) -> dict[str, float]:
        """See Architecture.figures."""
        return verify_classifier(opened.sequences(), self._config, ClassifierReference(self._model), texts)

    def relu_states(self) -> list[NDArray[np.float32]]:
        """See Architecture.relu_states."""
        return ClassifierReference(self._model).relu_states()

    def golden(self, opened: OpenGraphs) -> Golden:
        """See Architecture.golden."""
        ids = golden_ids(self._config.vocab_size)
        return Golden(ids=ids, logits=classifier_answer(opened.sequences(), ids).tolist())
