from collections.abc import Callable

import numpy as np
import pytest

from export.parity.backends import open_graphs
from models.bundle import Bundle
from models.cells import CELL_KINDS, CellKind
from models.errors import RunnerError
from runtime.golden import check_golden, new_golden

Built = Callable[..., Bundle]
TASKS = ("generation", "translation", "sentiment")


def answer(bundle: Bundle, set_name: str) -> np.ndarray:
    graph_set = bundle.graph_set(set_name)
    files = {graph: graph_set.graph(graph) for graph in graph_set.manifest.graphs}
    opened = open_graphs("onnxruntime-cpu", bundle, set_name, files)
    return np.array(new_golden(opened, bundle.task, bundle.sizes).logits, np.float32)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", CELL_KINDS)
@pytest.mark.parametrize("set_name", ["fp32", "int8"])
def test_this_machine_reproduces_what_it_built(built_bundle: Built, kind: CellKind, set_name: str, task: str) -> None:
    bundle = built_bundle(kind, task)
    check_golden(set_name, bundle.graph_set(set_name).manifest.golden, answer(bundle, set_name))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("damage", [0.5, float("nan")])
def test_another_answer_is_refused(built_bundle: Built, damage: float, task: str) -> None:
    bundle = built_bundle("lstm", task)
    golden = bundle.graph_set("int8").manifest.golden
    other = golden.model_copy(update={"logits": (np.array(golden.logits) + damage * np.std(golden.logits)).tolist()})
    with pytest.raises(RunnerError, match="does not reproduce its golden vector"):
        check_golden("int8", other, answer(bundle, "int8"))
