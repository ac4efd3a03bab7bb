from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.device import VARIABLE
from tests.runtime.tensorrt.fake_gpu import FakeGpu
from tests.runtime.tensorrt.fake_tensorrt import fake_gpu


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    """A machine with TensorRT, a GPU and an empty cache."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    with fake_gpu() as machine:
        yield machine
