from collections.abc import Callable

import numpy as np
import pytest

from export.backends.golden import check_golden
from export.backends.onnxruntime.build import open_graph_set
from export.backends.onnxruntime.run import OnnxStepRunner
from models.bundle import Bundle
from models.config import CELL_KINDS, CellKind
from models.errors import RunnerError

Built = Callable[[CellKind], Bundle]


def opened(bundle: Bundle, set_name: str) -> OnnxStepRunner:
    return OnnxStepRunner(open_graph_set(bundle.graph_set(set_name)), 2, bundle.record.state_width)


@pytest.mark.parametrize("kind", CELL_KINDS)
@pytest.mark.parametrize("set_name", ["fp32", "int8"])
def test_this_machine_reproduces_what_it_built(built_bundle: Built, kind: CellKind, set_name: str) -> None:
    bundle = built_bundle(kind)
    manifest = bundle.graph_set(set_name).manifest
    check_golden(set_name, manifest.golden, opened(bundle, set_name), bundle.record.state_width)


@pytest.mark.parametrize("damage", [0.5, float("nan")])
def test_another_answer_is_refused(built_bundle: Built, damage: float) -> None:
    bundle = built_bundle("lstm")
    golden = bundle.graph_set("int8").manifest.golden
    noise = np.random.default_rng(0).normal(0, damage * np.std(golden.logits), len(golden.logits))
    other = golden.model_copy(update={"logits": (np.array(golden.logits) + noise).tolist()})
    with pytest.raises(RunnerError, match="does not reproduce its golden vector"):
        check_golden("int8", other, opened(bundle, "int8"), bundle.record.state_width)
