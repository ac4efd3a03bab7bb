"""The cells whose step is traced: trained by a recipe's one key, exported, verified, run through `decode`."""

from pathlib import Path

import numpy as np
import pytest

from export.build import build_sets
from models.bundle import Bundle
from models.cells import TRACED_KINDS
from runtime.onnxruntime.build import open_session
from tests.training.conftest import RecipeMaker
from training.run import run


@pytest.mark.parametrize(
    # the others go from their recipes to a server in tests/end_to_end/test_traced_cells.py
    "kind",
    [pytest.param(kind, marks=() if kind == "min-gru" else pytest.mark.slow) for kind in TRACED_KINDS],
)
def test_a_recipe_trains_it_and_its_graphs_pass(kind: str, make_recipe: RecipeMaker, tmp_path: Path) -> None:
    model = {"kind": kind, "embedding_size": 12, "hidden_size": 16, "num_layers": 2, "dropout": 0.1}
    bundle = Bundle(run(make_recipe(model=model)))
    losses = [figures["validation_nats_per_token"] for figures in bundle.record.provenance["epochs"]]
    assert losses[-1] < losses[0]
    (report,) = build_sets(bundle, ("fp32",))
    assert report.is_passed
    assert report.figures()["rows_changed_by_batch"] == 0
    decode = open_session(bundle.graph_set("fp32").graph("decode"))
    batch, steps = 3, 4
    inputs = {
        "token": np.array([1, 2, 3]),
        "state": np.zeros((batch, bundle.sizes["D"]), np.float32),
        "forced": np.full((steps, batch), -1),
        "uniforms": np.zeros((steps, batch)),
        "temperature": np.zeros(batch, np.float32),
    }
    tokens, *_ = decode.run(["tokens"], inputs)
    assert tokens.shape == (steps, batch)
    assert (tokens >= 0).all()
