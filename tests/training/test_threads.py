from pathlib import Path

import pytest

from tests.training.conftest import RecipeMaker
from training import threads


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight logical CPUs, two of each core, all of them allowed."""
    for cpu in range(8):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    monkeypatch.setattr(threads, "_TOPOLOGY", tmp_path)
    monkeypatch.setattr(threads, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path


def test_by_default_a_thread_for_each_core_that_is_available(
    machine: Path, make_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(threads=None)
    assert threads.num_threads(recipe) == 4
    assert threads.num_threads(make_recipe(threads=7)) == 7
    assert threads.num_threads(make_recipe(threads=None, trainer={"accelerator": "cpu", "devices": 2})) == 2
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {1, 5, 2})
    assert threads.num_threads(recipe) == 2
    (machine / "cpu.max").write_text("150000 100000\n")
    assert threads.num_threads(recipe) == 1


def test_the_environment_may_lower_it(machine: Path, make_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads.num_threads(make_recipe(threads=None)) == 3
    (machine / "cpu.max").write_text("max 100000\n")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert threads.num_threads(make_recipe(threads=None)) == 4
