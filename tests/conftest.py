import gc
from collections.abc import Callable, Iterator
from copy import copy
from functools import cache
from typing import Any

import pytest
import torch
from filelock import FileLock
from torch.onnx._internal.exporter._constants import TORCHLIB_OPSET
from torch.onnx._internal.exporter._registration import ONNXRegistry

from export.build import build_sets
from models.bundle import Bundle
from models.cells import CellKind
from runtime.device import VARIABLE
from tests.forked import Program, forked_programs
from tests.tiny_models import tiny_bundle, tiny_classifier_bundle, tiny_tagger_bundle, tiny_translator_bundle

torch.set_num_threads(1)  # small models; a second thread only waits when the machine is busy


MAKERS: dict[str, Callable[..., Bundle]] = {
    "generation": tiny_bundle,
    "translation": tiny_translator_bundle,
    "sentiment": tiny_classifier_bundle,
    "tagging": tiny_tagger_bundle,
}


@pytest.fixture(scope="session", autouse=True)
def machine_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty cache: no test sees, or leaves, what was measured or built on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def operators_registered_once() -> Iterator[None]:
    """PyTorch's exporter reads all its operators again for each graph, a third of what a small one takes."""
    read = cache(ONNXRegistry.from_torchlib)

    def copied(opset_version: int = TORCHLIB_OPSET) -> ONNXRegistry:
        registry = copy(read(opset_version))
        registry.functions = {name: list(functions) for name, functions in registry.functions.items()}
        return registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(copied))
        yield


@pytest.fixture(scope="session")
def built_bundle(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[..., Bundle]:
    """A tiny bundle of a cell kind and task with its fp32 and int8 sets, built once a run. Read only."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent  # of all workers of this run

    @cache
    def build(kind: CellKind, task: str = "generation", **options: Any) -> Bundle:
        name = kind if task == "generation" else f"{task}-{kind}"
        variant = "-".join(f"{key}-{options[key]}" for key in sorted(options)) or "plain"
        store = shared / "bundles" / variant
        store.mkdir(parents=True, exist_ok=True)
        with FileLock(store / f"{name}.lock"):
            if not (store / name / "built").exists():
                build_sets(MAKERS[task](store, name=name, kind=kind, **options))
                (store / name / "built").touch()
        return Bundle(store / name / "1")

    return build


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """program(module, *arguments, folder=..., **variables): as `python -m MODULE` in a process of its own."""
    with forked_programs(tmp_path_factory.mktemp("programs")) as run:
        yield run


_SLOW_FIRST = ("tests/training/test_resume", "tests/training/test_devices", "tests/end_to_end", "tests/training")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files first, so that no worker is left with one at the end."""

    def place(item: pytest.Item) -> int:
        return next((i for i, prefix in enumerate(_SLOW_FIRST) if item.nodeid.startswith(prefix)), len(_SLOW_FIRST))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """What is imported stays: the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
