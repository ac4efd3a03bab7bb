"""The language model: advance, step, score."""

from typing import Any

import onnx

from export.architectures.architecture import golden_ids
from export.backends.golden import language_model_answer
from export.backends.onnxruntime.build import Graphs
from export.backends.onnxruntime.run import OnnxSequenceRunner, OnnxStepRunner
from export.parity.language_model import verify_language_model
from export.quantize.language_model import QuantizedLanguageModel
from export.report import Report
from export.trace.language_model import language_model_graphs
from export.trace.reference import LanguageModelReference, with_weights
from models.bundle import Bundle
from models.config import LanguageModelConfig
from models.graph_set import Golden
from models.network.language_model import LanguageModel

_VERIFY_SLOTS = 128


class LanguageModelArchitecture:
    """See Architecture.

    Args:
        bundle: the model.
        config: its architecture.
    """

    def __init__(self, bundle: Bundle, config: LanguageModelConfig) -> None:
        self._bundle = bundle
        self._config = config
        self._model = with_weights(LanguageModel(config), bundle)

    def graphs(self, set_name: str) -> tuple[dict[str, onnx.ModelProto], dict[str, Any]]:
        """See Architecture.graphs."""
        if set_name == "int8":
            quantized = QuantizedLanguageModel(self._config, self._bundle.weights())
            return quantized.graphs(), quantized.notes
        return language_model_graphs(self._model), {}

    def verify(self, set_name: str, graphs: Graphs) -> Report:
        """See Architecture.verify."""
        step = OnnxStepRunner(graphs, _VERIFY_SLOTS, self._config.state_size)
        reference = LanguageModelReference(self._model)
        return verify_language_model(set_name, OnnxSequenceRunner(graphs), step, self._config, reference)

    def golden(self, graphs: Graphs) -> Golden:
        """See Architecture.golden."""
        ids = golden_ids(self._config.vocab_size)
        step = OnnxStepRunner(graphs, 2, self._config.state_size)
        return Golden(ids=ids, logits=language_model_answer(step, ids, self._config.state_size).tolist())
