"""The translator: encode and step."""

from typing import Any

import onnx

from export.architectures.architecture import golden_ids
from export.backends.golden import translator_answer
from export.backends.onnxruntime.attention_run import OnnxAttentionStepRunner
from export.backends.onnxruntime.build import Graphs
from export.backends.onnxruntime.run import OnnxSequenceRunner
from export.parity.translator import verify_translator
from export.quantize.translator import QuantizedTranslator
from export.report import Report
from export.trace.reference import TranslatorReference, with_weights
from export.trace.translator import translator_graphs
from models.bundle import Bundle
from models.graph_set import Golden
from models.network.translator import Translator
from models.translator_config import TranslatorConfig

_VERIFY_SLOTS = 64


class TranslatorArchitecture:
    """See Architecture.

    Args:
        bundle: the model.
        config: its architecture.
    """

    def __init__(self, bundle: Bundle, config: TranslatorConfig) -> None:
        self._bundle = bundle
        self._config = config
        self._model = with_weights(Translator(config), bundle)

    def graphs(self, set_name: str) -> tuple[dict[str, onnx.ModelProto], dict[str, Any]]:
        """See Architecture.graphs."""
        if set_name == "int8":
            quantized = QuantizedTranslator(self._config, self._bundle.weights())
            return quantized.graphs(), quantized.notes
        return translator_graphs(self._model), {}

    def verify(self, set_name: str, graphs: Graphs) -> Report:
        """See Architecture.verify."""
        step = OnnxAttentionStepRunner(graphs, _VERIFY_SLOTS, self._config.state_size)
        reference = TranslatorReference(self._model)
        return verify_translator(set_name, OnnxSequenceRunner(graphs), step, self._config, reference)

    def golden(self, graphs: Graphs) -> Golden:
        """See Architecture.golden."""
        ids = golden_ids(self._config.vocab_size)
        step = OnnxAttentionStepRunner(graphs, 2, self._config.state_size)
        return Golden(ids=ids, logits=translator_answer(OnnxSequenceRunner(graphs), step, ids).tolist())
