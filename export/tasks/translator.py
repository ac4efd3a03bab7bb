"""The translator: encode and step."""

from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.onnx.int8.translator import QuantizedTranslator
from export.onnx.rewrite.graph_sets import graph_set_from_traced
from export.parity.backends import OpenGraphs
from export.parity.translator import verify_translator
from export.tasks.architecture import golden_ids
from export.trace.reference import TranslatorReference, with_weights
from export.trace.translator import translator_graphs
from models.bundle import Bundle
from models.config import TranslatorConfig
from models.errors import ExportError
from models.graph_set import Golden
from models.network.translator import Translator
from runtime.golden import translator_answer

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
        return graph_set_from_traced(set_name, self._traced), {}

    @cached_property
    def _traced(self) -> dict[str, onnx.ModelProto]:
        return translator_graphs(self._model)

    def figures(self, opened: OpenGraphs, texts: list[list[int]] | None = None) -> dict[str, float]:
        """See Architecture.figures."""
        step = opened.attention_steps(_VERIFY_SLOTS, self._config.state_size)
        reference = TranslatorReference(self._model)
        return verify_translator(opened.sequences(), step, self._config, reference, self._end_id, texts)

    def relu_states(self) -> list[NDArray[np.float32]]:
        """See Architecture.relu_states."""
        return TranslatorReference(self._model).relu_states()

    def golden(self, opened: OpenGraphs) -> Golden:
        """See Architecture.golden."""
        ids = golden_ids(self._config.vocab_size)
        step = opened.attention_steps(2, self._config.state_size)
        return Golden(ids=ids, logits=translator_answer(opened.sequences(), step, ids).tolist())

    @property
    def _end_id(self) -> int:
        end_id = self._bundle.tokenizer.end_id
        if end_id is None:
            raise ExportError(f"{self._bundle.path}: a translator's tokenizer has an end token; publish it again.")
        return end_id
