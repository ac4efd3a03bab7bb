"""The table of the shipped models is what their reports and the measured figures say."""

import json
from pathlib import Path

import pytest

from benchmarks.models import BEGIN, DATA, DOCUMENT, END, RESULTS, STORE, table


def test_the_document_has_the_table_of_the_shipped_bundles() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert set(results) == set(DATA) == {folder.name for folder in STORE.iterdir() if folder.is_dir()}
    shown = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert shown.strip() == table(results), "run python -m benchmarks.models"


def test_a_model_that_has_changed_since_it_was_measured_is_said() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    name = next(iter(results))
    results[name][DATA[name][0]]["bundle_sha256"] = "0" * 64
    with pytest.raises(SystemExit, match=rf"{name}/1 is not what was measured; run python -m benchmarks.models"):
        table(results)


def test_every_model_has_a_recipe() -> None:
    assert all((Path("training/recipes") / f"{name}.yaml").is_file() for name in DATA)
