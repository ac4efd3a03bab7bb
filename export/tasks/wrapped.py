"""A model trained elsewhere, behind the graphs of its task. Its code is at hand when it is wrapped, and rarely after.

Without the code its graphs are held against each other; with it, against PyTorch too.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.onnx.census import census, forbidden_operators
from export.parity.backends import OpenGraphs
from export.tasks.architecture import golden_ids
from export.user_module.wrap.classifier import ClassifierAnswers, UserClassifier
from export.user_module.wrap.consistency import generation_figures, sentiment_figures, translation_figures
from export.user_module.wrap.language_model import LanguageModelAnswers, UserLanguageModel
from export.user_module.wrap.parity import classifier_errors, language_model_errors, translator_errors
from export.user_module.wrap.translator import TranslatorAnswers, UserTranslator
from models.architecture import WrappedConfig
from models.bundle import Bundle
from models.errors import ExportError
from models.graph_set import Golden
from runtime.golden import check_golden, classifier_answer, language_model_answer, translator_answer

UserModel = UserLanguageModel | UserTranslator | UserClassifier

_SLOTS = 32


class WrappedArchitecture:
    """See Architecture.

    Args:
        bundle: the model.
        config: what its graphs take and give.
        model: the user's, where its code is at hand.
    """

    def __init__(self, bundle: Bundle, config: WrappedConfig, model: UserModel | None = None) -> None:
        self._bundle = bundle
        self._config = config
        self._model = model

    def graphs(self, set_name: str) -> tuple[dict[str, onnx.ModelProto], dict[str, Any]]:
        """See Architecture.graphs; only fp32, and only where the code is at hand."""
        if self._model is None or set_name != "fp32":
            raise ExportError(
                f"{self._bundle.id} is a user's own module, of which the bundle holds weights and fp32 graphs but no "
                f"code, so {set_name} cannot be built from it. Wrap it again for new graphs (python -m export wrap); "
                "for int8 and the gpu sets the module must be an embedding, one recurrent stack and a linear head."
            )
        graphs = self._model.graphs()
        found = {name: census(graph) for name, graph in graphs.items()}
        known = {name: forbidden_operators(set_name, name) for name in graphs}
        warnings = [
            f"{graph} holds {operator}: {reason}"
            for graph, counts in found.items()
            for operator, reason in known[graph].items()
            if counts[operator]
        ]
        return graphs, {"warnings": warnings}

    def figures(self, opened: OpenGraphs, texts: list[list[int]] | None = None) -> dict[str, float]:
        """See Architecture.figures.

        Raises:
            ExportError: there are texts: a user's own module is verified on random ones alone.
            RunnerError: without the code, the set does not reproduce its golden vector.
        """
        if texts is not None:
            raise ExportError(f"{self._bundle.id} is a user's own module, verified on random texts; leave out --text.")
        if self._model is None:
            golden = self._bundle.graph_set("fp32").manifest.golden
            check_golden("fp32", golden, self._answer(opened, golden.ids))
        sequences, config = opened.sequences(), self._config
        vocab_size, width = config.vocab_size, config.state_size
        figures: dict[str, float] = {}
        match config.task:
            case "generation":
                if isinstance(self._model, UserLanguageModel):
                    answers = LanguageModelAnswers(self._model)
                    figures = language_model_errors(
                        sequences, answers, vocab_size, width, has_score=self._model.has_positions
                    )
                return figures | generation_figures(sequences, opened.steps(_SLOTS, width), vocab_size, width)
            case "translation":
                steps = opened.attention_steps(_SLOTS, width)
                if isinstance(self._model, UserTranslator):
                    figures = translator_errors(sequences, steps, TranslatorAnswers(self._model), vocab_size)
                return figures | translation_figures(sequences, steps, vocab_size)
            case "sentiment":
                if isinstance(self._model, UserClassifier):
                    figures = classifier_errors(sequences, ClassifierAnswers(self._model), vocab_size)
                return figures | sentiment_figures(sequences, vocab_size)

    def relu_states(self) -> list[NDArray[np.float32]]:
        """See Architecture.relu_states; such a model has no int8 set."""
        return []

    def golden(self, opened: OpenGraphs) -> Golden:
        """See Architecture.golden."""
        ids = golden_ids(self._config.vocab_size)
        return Golden(ids=ids, logits=self._answer(opened, ids).tolist())

    def _answer(self, opened: OpenGraphs, ids: list[int]) -> NDArray[np.float32]:
        """The last logits after ids."""
        width = self._config.state_size
        match self._config.task:
            case "generation":
                return language_model_answer(opened.steps(2, width), ids, width)
            case "translation":
                return translator_answer(opened.sequences(), opened.attention_steps(2, width), ids)
            case "sentiment":
                return classifier_answer(opened.sequences(), ids)
