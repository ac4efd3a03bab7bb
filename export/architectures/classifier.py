"""The classifier: classify."""

from typing import Any

import onnx

from export.architectures.architecture import golden_ids
from export.backends.golden import classifier_answer
from export.backends.onnxruntime.build import Graphs
from export.backends.onnxruntime.run import OnnxSequenceRunner
from export.parity.classifier import verify_classifier
from export.quantize.classifier import QuantizedClassifier
from export.report import Report
from export.trace.classifier import classifier_graphs
from export.trace.reference import ClassifierReference, with_weights
from models.bundle import Bundle
from models.classifier_config import ClassifierConfig
from models.graph_set import Golden
from models.network.classifier import Classifier


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
        return classifier_graphs(self._model), {}

    def verify(self, set_name: str, graphs: Graphs) -> Report:
        """See Architecture.verify."""
        reference = ClassifierReference(self._model)
        return verify_classifier(set_name, OnnxSequenceRunner(graphs), self._config, reference)

    def golden(self, graphs: Graphs) -> Golden:
        """See Architecture.golden."""
        ids = golden_ids(self._config.vocab_size)
        return Golden(ids=ids, logits=classifier_answer(OnnxSequenceRunner(graphs), ids).tolist())
