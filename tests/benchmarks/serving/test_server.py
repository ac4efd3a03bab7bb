import os
import time
from pathlib import Path

import pytest

from benchmarks.serving.cpu import CpuUse, cpu_seconds_of
from benchmarks.serving.server import Server

STORE = Path(__file__).parents[3] / "artifacts"


def test_a_server_starts_is_measured_and_stops() -> None:
    with Server(STORE, ["shakespeare-char"], {"RNNSERVE_MAX_ROWS": "8"}) as server:
        assert server.seconds_to_ready > 0
        assert server.cpu_seconds() > 0.1
        assert server.metrics()["rnnserve_sessions"] == 0
        assert 'rnnserve_rows_running{model="shakespeare-char/1"}' in server.metrics()
        assert set(CpuUse(server.pid).per_second()) == {"server_cpu_per_second", "client_cpu_per_second"}
        pid = server.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_that_does_not_start_is_reported_in_its_own_words() -> None:
    with pytest.raises(RuntimeError, match="no-such-model"), Server(STORE, ["no-such-model"]):
        pass


def test_settings_of_this_process_are_not_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNNSERVE_MAX_ROWS", "not a number")
    with Server(STORE, ["shakespeare-char"]) as server:
        assert server.seconds_to_ready > 0


def test_cpu_time_grows_with_work() -> None:
    before = cpu_seconds_of(os.getpid())
    end = time.process_time() + 0.1
    while time.process_time() < end:
        sum(range(10_000))
    assert 0.05 < cpu_seconds_of(os.getpid()) - before < 5
