"""Neural Turing Machines as they are served: trained by their recipes, exported, asked by POST /v1/generate."""

import os
import random
from pathlib import Path

import pytest

from export.build import build_sets
from models.bundle import Bundle
from models.store import Store
from tests.end_to_end.real_server import RealServer, real_server
from training.data.recollections import MARK, Draw, copy, recall
from training.recipe_file import RECIPES, load_recipe
from training.run import run

AT_ONCE = 20  # prompts of a request
STORE = "RNNSERVE_NTM_STORE"  # a folder with the trained bundles, for the slow test; without it they are trained


def num_exact(server: RealServer, model: str, draw: Draw, size: int, num_cases: int) -> int:
    """How many answers of a greedy decode are right to their ends; the cases are not those of the training."""
    dice = random.Random(size)
    cases = [draw(dice, size).partition(MARK) for _ in range(num_cases)]
    found = 0
    for start in range(0, num_cases, AT_ONCE):
        asked = cases[start : start + AT_ONCE]
        question = {
            "model": model,
            "prompt": [before + mark for before, mark, _ in asked],
            "max_tokens": max(len(answer) for _, _, answer in asked) + 2,
            "temperature": 0,
        }
        choices = server.client.post("/v1/generate", json=question).raise_for_status().json()["choices"]
        found += sum(
            choice["text"] == answer and choice["finish_reason"] == "stop"
            for choice, (_, _, answer) in zip(choices, asked, strict=True)
        )
    return found


@pytest.mark.slow
def test_a_small_copy_is_learnt_by_its_recipe(tmp_path: Path) -> None:
    places = [f"store={tmp_path / 'store'}", f"run_dir={tmp_path / 'run'}"]
    bundle = Bundle(run(load_recipe(RECIPES / "copy-ntm.yaml", ["data.longest=4", "name=small", *places])))
    assert bundle.record.metrics["validation_exact"] > 0.95


@pytest.mark.slow
@pytest.mark.parametrize(("name", "draw", "sizes"), [("copy-ntm", copy, (20, 40, 60)), ("recall-ntm", recall, (6, 12))])
def test_a_thousand_answers_are_exact_at_lengths_never_trained(
    tmp_path: Path, name: str, draw: Draw, sizes: tuple[int, ...]
) -> None:
    store = Path(os.environ.get(STORE, tmp_path / "store"))
    if not (store / name).is_dir():
        run(load_recipe(RECIPES / f"{name}.yaml", [f"store={store}", f"run_dir={tmp_path / 'run'}"]))
    bundle = Bundle(Store(store).resolve(name))
    if "fp32" not in bundle.graph_sets:
        build_sets(bundle, ("fp32",))
    with real_server(store, log=tmp_path / "log") as server:
        found = {size: num_exact(server, name, draw, size, 1000) for size in sizes}
    print(f"{name}: exact of 1,000 by size: {found}")
    assert min(found.values()) >= 990
