"""Engines in processes of their own: killed, orphaned, interrupted, and left out."""

import asyncio
import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.errors import RunnerError
from server.process.engine_process import EngineProcess
from server.settings import Settings
from tests.end_to_end.mixed_requests import Models, mixed_exchanges, one_by_one
from tests.end_to_end.real_server import RealServer, real_server
from tests.server.running import wait_until

STORE, MODEL = Path("artifacts"), "shakespeare-char"
LONG = {"prompt": "ROMEO:", "max_tokens": 4096, "min_tokens": 4096}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class InBackground:
    """A request that runs while the test goes on."""

    def __init__(self, server: RealServer, **fields: Any) -> None:
        self._server, self._fields = server, fields
        self.answer: httpx.Response | None = None  # None where the server went away
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        wait_until(lambda: 'rows_running{model="shakespeare-char/1"} 1.0' in server.client.get("/metrics").text)

    def _ask(self) -> None:
        with contextlib.suppress(httpx.TransportError), httpx.Client(base_url=self._server.url, timeout=120) as client:
            self.answer = client.post("/v1/generate", json=self._fields)

    def end(self) -> httpx.Response | None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.answer


@pytest.mark.parametrize("is_streamed", [False, True])
def test_requests_of_a_killed_engine_fail_and_the_server_says_that_it_is_not_well(
    is_streamed: bool, tmp_path: Path
) -> None:
    with real_server(STORE, "--models", f"{MODEL},sentiment-en", log=tmp_path / "log") as server:
        running = InBackground(server, **LONG, stream=is_streamed)
        engines = {Path(f"/proc/{pid}/cmdline").read_text().split("\0")[-2]: pid for pid in server.pids[1:]}
        assert engines.keys() == {MODEL, "sentiment-en"}
        os.kill(engines[MODEL], signal.SIGKILL)
        answer = running.end()
        assert answer is not None
        assert "engine_failed" in answer.text
        assert answer.status_code == (200 if is_streamed else 500)
        refused = server.client.post("/v1/generate", json={"prompt": "a"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (500, "engine_failed")
        assert server.client.get("/livez").status_code == 500
        assert f'rows_running{{model="{MODEL}/1"}} 0.0' in server.client.get("/metrics").text
        not_ready = server.client.get("/readyz")
        assert (not_ready.status_code, not_ready.json()["error"]["code"]) == (503, "engine_failed")
        assert f"The engine of {MODEL}/1 has ended" in not_ready.json()["error"]["message"]
        other = server.client.post("/v1/sentiment", json={"text": "A warm film."})
        assert other.status_code == 200, "the other model's engine has its own process"
        wait_until(lambda: '"by":"signal 9"' in server.log.read_text())
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0


def test_engines_do_not_outlive_a_server_that_was_killed(tmp_path: Path) -> None:
    with real_server(STORE, "--models", MODEL, log=tmp_path / "log") as server:
        running = InBackground(server, **LONG, stream=True)
        (_, engine) = server.pids
        server.process.kill()
        wait_until(lambda: not is_alive(engine))
        assert running.end() is None


def test_ctrl_c_reaches_every_process_and_the_running_request_is_answered(tmp_path: Path) -> None:
    with real_server(STORE, "--models", MODEL, log=tmp_path / "log") as server:
        running = InBackground(server, **LONG)
        pids = server.pids
        for pid in pids:
            os.kill(pid, signal.SIGINT)
        answer = running.end()
        assert answer is not None
        assert answer.status_code == 200
        assert answer.json()["usage"]["completion_tokens"] == LONG["max_tokens"]
        assert server.process.wait(30) == 0
        assert not any(map(is_alive, pids))


def test_answers_are_the_same_without_processes_of_their_own(tmp_path: Path) -> None:
    models = Models([MODEL], ["translate-en-zh"], ["sentiment-en"])
    exchanges = mixed_exchanges(60, models, seed=21)
    names = ",".join([MODEL, "translate-en-zh", "sentiment-en"])
    answers = []
    for environment, num_processes in ({}, 4), ({"RNNSERVE_ENGINE_PROCESSES": "false"}, 1):
        with real_server(STORE, "--models", names, log=tmp_path / "log", environment=environment) as server:
            assert len(server.pids) == num_processes
            answers.append(asyncio.run(one_by_one(server.url, exchanges)))
    assert answers[0] == answers[1]


def test_an_engine_that_is_killed_while_it_loads_is_named() -> None:
    process = EngineProcess(MODEL, Settings(store=STORE))
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(RunnerError, match=rf"Model {MODEL}: the process that was to load it ended with signal 9"):
        process.ready()


def test_gauges_fall_when_the_last_request_is_answered(tmp_path: Path) -> None:
    with real_server(STORE, "--models", "sentiment-en", log=tmp_path / "log") as server:
        assert server.client.post("/v1/sentiment", json={"text": ["a", "b", "c"]}).status_code == 200
        wait_until(lambda: 'rows_running{model="sentiment-en/1"} 0.0' in server.client.get("/metrics").text)
