"""A model trained elsewhere, behind the graphs of its task. Its code is at hand when it is wrapped, and rarely after.

Without the code its graphs are compared with each other and with the fp32 set's golden vector; with it, with PyTorch.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.onnx.census import census, forbidden_operators, gpu_restrictions
from export.onnx.rewrite.graph_sets import graph_set_from_traced
from export.tasks.registry import export_of
from export.tasks.sequence import explained_figures
from export.tasks.task import UserModel
from models.architecture import WrappedConfig
from models.bundle import Bundle
from models.errors import ExportError
from runtime.golden import answer_of_set, golden_error
from runtime.opening import CPU, OpenGraphs, open_set


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
        """See Architecture.graphs; fp32 only where the code is at hand, the others from the fp32 graphs."""
        if set_name.startswith("gpu-"):
            graphs = graph_set_from_traced(set_name, self._fp32_graphs())
            _check_gpu(graphs)
        elif set_name == "int8" and self._bundle.task.inputs == "frames":
            graphs = graph_set_from_traced(set_name, self._fp32_graphs())
            self._check_int8(graphs)
        elif self._model is not None and set_name == "fp32":
            graphs = self._model.graphs()
        else:
            raise ExportError(
                f"{self._bundle.id} is a user's own module, of which the bundle holds weights and fp32 graphs but no "
                f"code, so {set_name} cannot be built from it. Wrap it again for new graphs (python -m export wrap); "
                "for int8 the module must be an embedding, one recurrent stack and a linear head."
            )
        found = {name: census(graph) for name, graph in graphs.items()}
        known = {name: forbidden_operators(set_name, name) for name in graphs}
        warnings = [
            f"{graph} holds {operator}: {reason}"
            for graph, counts in found.items()
            for operator, reason in known[graph].items()
            if counts[operator]
        ]
        return graphs, {"warnings": warnings}

    def _fp32_graphs(self) -> dict[str, onnx.ModelProto]:
        """As they were traced; those with a loop of steps inside, which a GPU does not run, are left out."""
        if self._model is not None:
            return self._model.graphs()
        graph_set = self._bundle.graph_set("fp32")
        traced = [graph.name for graph in self._bundle.task.graphs if graph.kind in ("sequence", "step")]
        return {name: onnx.load(str(graph_set.graph(name))) for name in graph_set.manifest.graphs if name in traced}

    def figures(self, opened: OpenGraphs, texts: list[list[int]] | None = None) -> dict[str, float]:
        """See Architecture.figures.

        Raises:
            ExportError: there are texts: a user's own module is verified on random ones alone.
            BundleError: without the code, there is no fp32 set to compare with.
        """
        if texts is not None:
            raise ExportError(f"{self._bundle.id} is a user's own module, verified on random texts; leave out --text.")
        if self._model is None:
            golden = self._bundle.graph_set("fp32").manifest.golden
            answer = answer_of_set(opened, self._bundle.task, golden.ids, self._config.state_size)
            figures = {"golden_error": golden_error(golden, answer)}
            if self._bundle.task.inputs == "frames":
                figures |= explained_figures(opened, open_set(CPU, self._bundle, "fp32"), self._config)
        else:
            figures = self._model.errors(opened)
        return figures | export_of(self._config.task).consistency(opened, self._config)

    def relu_states(self) -> list[NDArray[np.float32]]:
        """See Architecture.relu_states; where such a model has an int8 set, no such state is quantised."""
        return []

    def _check_int8(self, graphs: dict[str, onnx.ModelProto]) -> None:
        """Refuse graphs in which nothing became int8; raises ExportError."""
        if not all(census(graph)["MatMulInteger"] for graph in graphs.values()):
            raise ExportError(
                f"{self._bundle.id} has no int8 set: its graphs hold no nn.LSTM and no nn.GRU outside of loops, and of "
                "models of frames int8 is for these layers."
            )


def _check_gpu(graphs: dict[str, onnx.ModelProto]) -> None:
    """Refuse what no GPU backend runs; raises ExportError."""
    for name, graph in graphs.items():
        counts = census(graph)
        for operator, reason in gpu_restrictions(name).items():
            if counts[operator]:
                raise ExportError(
                    f"Graph {name} holds {counts[operator]} {operator}: {reason}, so the model has no gpu- sets. Serve "
                    "it on a CPU."
                )
