from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.device import VARIABLE
from tests.server.running import Running, running


@pytest.fixture(scope="package")
def server() -> Iterator[Running]:
    """One server with one fake character model, for tests that leave it as it was."""
    with running() as instance:
        yield instance


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Models are loaded as on a machine where nothing was measured: int8 before fp32."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr("runtime.backends.cpu_choice", lambda *_: None)
