"""The language model: advance, step, score."""

from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.onnx.int8.language_model import QuantizedLanguageModel
from export.onnx.rewrite.graph_sets import graph_set_from_traced
from export.parity.backends import OpenGraphs
from export.parity.language_model import NUM_TEXT_ROWS, NUM_TEXT_TOKENS, verify_language_model
from export.parity.texts import rows_of_text
from export.tasks.architecture import golden_ids
from export.trace.language_model import language_model_graphs
from export.trace.reference import LanguageModelReference, with_weights
from models.bundle import Bundle
from models.config import LanguageModelConfig
from models.graph_set import Golden
from models.network.language_model import LanguageModel
from runtime.golden import language_model_answer

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
        return graph_set_from_traced(set_name, self._traced), {}

    @cached_property
    def _traced(self) -> dict[str, onnx.ModelProto]:
        return language_model_graphs(self._model)

    def figures(self, opened: OpenGraphs, texts: list[list[int]] | None = None) -> dict[str, float]:
        """See Architecture.figures."""
        step = opened.steps(_VERIFY_SLOTS, self._config.state_size)
        text = self._own_text if texts is None else rows_of_text(texts)
        return verify_language_model(opened.sequences(), step, self._config, LanguageModelReference(self._model), text)

    @cached_property
    def _own_text(self) -> NDArray[np.int64]:
        """What the model writes itself, for all sets: int64 [16, 160]."""
        return LanguageModelReference(self._model).sample(NUM_TEXT_ROWS, NUM_TEXT_TOKENS, seed=1)

    def relu_states(self) -> list[NDArray[np.float32]]:
        """See Architecture.relu_states."""
        return LanguageModelReference(self._model).relu_states()

    def golden(self, opened: OpenGraphs) -> Golden:
        """See Architecture.golden."""
        ids = golden_ids(self._config.vocab_size)
        step = opened.steps(2, self._config.state_size)
        return Golden(ids=ids, logits=language_model_answer(step, ids, self._config.state_size).tolist())
