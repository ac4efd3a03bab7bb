"""A model trained elsewhere, behind the graphs of its task. Its code is at hand when it is wrapped, and rarely after.

Without the code its graphs are held against each other; with it, against PyTorch too.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.onnx.census import census, forbidden_operators
from export.tasks.registry import export_of
from export.tasks.task import UserModel
from models.architecture import WrappedConfig
from models.bundle import Bundle
from models.errors import ExportError
from runtime.golden import answer_of_set, check_golden
from runtime.opening import OpenGraphs


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
            check_golden("fp32", golden, answer_of_set(opened, self._bundle.task, golden.ids, self._config.state_size))
        figures = {} if self._model is None else self._model.errors(opened)
        return figures | export_of(self._config.task).consistency(opened, self._config)

    def relu_states(self) -> list[NDArray[np.float32]]:
        """See Architecture.relu_states; such a model has no int8 set."""
        return []
