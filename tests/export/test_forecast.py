"""The forecaster's graphs: PyTorch's answers, and the same bits however a series is cut and whoever is beside it."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.build import build_sets, default_sets
from export.tasks.forecast import random_series
from export.tasks.registry import export_of
from export.tasks.task import WrapFacts
from export.user_module.wrap.frames import advanced
from models.bundle import Bundle
from models.errors import ExportError
from models.forecaster import ForecasterConfig
from runtime.frames import batched, stepped
from runtime.opening import CPU, open_set
from tests.tiny_models import tiny_forecaster_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """With a calendar, covariates and two layers."""
    found = tiny_forecaster_bundle(tmp_path_factory.mktemp("store"))
    (report,) = build_sets(found, default_sets(found))
    assert report.is_passed
    return found


def test_it_has_the_set_fp32_and_its_figures(bundle: Bundle) -> None:
    assert bundle.graph_sets == ("fp32",)
    parity = bundle.graph_set("fp32").manifest.parity
    assert parity["worst_error"] <= 1e-5
    assert parity["rows_changed_by_batch"] == parity["rows_changed_by_chunks_or_steps"] == 0
    with pytest.raises(ExportError, match="have the set fp32 alone, not int8: python -m export build"):
        build_sets(bundle, ["int8"])


def test_alone_and_among_64_in_pieces_and_whole_give_the_same_bytes(bundle: Bundle) -> None:
    config = bundle.config
    assert isinstance(config, ForecasterConfig)
    opened = open_set(CPU, bundle, "fp32")
    rows = [row for seed in range(2, 4) for batch in random_series(config, seed) for row in batch][:64]
    together = advanced(opened, config.signature, rows, np.zeros((len(rows), config.state_size), np.float32))
    generator = np.random.default_rng(0)
    for index, row in enumerate(rows):
        length = len(row["values"])
        state = np.zeros((1, config.state_size), np.float32)
        for start, stop in pairwise(
            [0, *sorted(set(generator.integers(1, length + 1, 3).tolist()) - {length}), length]
        ):
            piece = {name: values[start:stop] for name, values in row.items()}
            if stop - start == 1:
                found = opened.sequences().run("step", stepped(config.signature, [piece]) | {"state": state})
            else:
                found = advanced(opened, config.signature, [piece], state)
            state = found["new_state"]
        for name in ("mean", "quantiles", "new_state"):
            assert found[name][0].tobytes() == together[name][index].tobytes(), (index, name)


def test_ten_thousand_single_observations_give_what_one_pass_gives(bundle: Bundle) -> None:
    config = bundle.config
    assert isinstance(config, ForecasterConfig)
    sequences = open_set(CPU, bundle, "fp32").sequences()
    generator = np.random.default_rng(1)
    number = 10_000
    row: dict[str, NDArray[Any]] = {
        "values": (100 + generator.standard_normal(number).cumsum()).astype(np.float32),
        "time": 1_700_000_000 + 3600 * np.arange(number),
        "covariates": generator.standard_normal((number, 2)).astype(np.float32),
    }
    row["values"][generator.random(number) < 0.01] = np.nan
    state = np.zeros((1, config.state_size), np.float32)
    for index in range(number):
        piece = {name: values[index : index + 1] for name, values in row.items()}
        by_steps = sequences.run("step", piece | {"state": state})
        state = by_steps["new_state"]
    whole = sequences.run(
        "advance",
        batched(config.signature, [row], number) | {"state": np.zeros((1, config.state_size), np.float32)},
    )
    for name in ("mean", "quantiles", "new_state"):
        assert by_steps[name].tobytes() == whole[name].tobytes()
    assert np.isfinite(whole["new_state"]).all()


def test_a_module_of_ones_own_is_pointed_to_the_task_sequence() -> None:
    with pytest.raises(ExportError, match="--task sequence"):
        export_of("forecast").user_model(object(), WrapFacts())
