from collections.abc import Callable
from functools import cache

import pytest
import torch

from export.build import build_sets
from models.bundle import Bundle
from models.config import CellKind
from tests.tiny_models import tiny_bundle

torch.set_num_threads(1)  # small models; a second thread only waits when the machine is busy


@pytest.fixture(scope="session")
def built_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[CellKind], Bundle]:
    """A tiny bundle of a cell kind with its fp32 and int8 sets, built once a run. Read only."""
    store = tmp_path_factory.mktemp("store")

    @cache
    def build(kind: CellKind) -> Bundle:
        bundle = tiny_bundle(store, kind)
        build_sets(bundle)
        return bundle

    return build
