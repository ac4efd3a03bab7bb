from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import torch

from export.build import build_sets
from models.bundle import Bundle
from models.cells import CellKind
from runtime.device import VARIABLE
from tests.tiny_models import tiny_bundle, tiny_classifier_bundle, tiny_translator_bundle

torch.set_num_threads(1)  # small models; a second thread only waits when the machine is busy


MAKERS = {"generation": tiny_bundle, "translation": tiny_translator_bundle, "sentiment": tiny_classifier_bundle}


@pytest.fixture(scope="session", autouse=True)
def machine_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty cache: no test sees, or leaves, what was measured or built on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def built_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    """A tiny bundle of a cell kind and task with its fp32 and int8 sets, built once a run. Read only."""
    store = tmp_path_factory.mktemp("store")

    @cache
    def build(kind: CellKind, task: str = "generation", **options: Any) -> Bundle:
        make: Callable[..., Bundle] = MAKERS[task]
        name = kind if task == "generation" else f"{task}-{kind}"  # of several variants, the next version
        bundle = make(store, name=name, kind=kind, **options)
        build_sets(bundle)
        return bundle

    return build
