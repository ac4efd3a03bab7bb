"""The program as an operator meets it: flags, signals, exit codes. Each test starts a process."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.server.running import wait_until

ROOT = Path(__file__).parents[2]


@dataclass
class Program:
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        wait_until(lambda: any('"listening"' in line for line in self.lines))
        line = next(line for line in self.lines if '"listening"' in line)
        found: str = json.loads(line)["url"]
        return found

    def until_ready(self) -> None:
        wait_until(lambda: any('"ready"' in line for line in self.lines))


@contextlib.contextmanager
def started_by(starter: tuple[str, ...], module: str, *arguments: str, **variables: str) -> Iterator[Program]:
    """Start `python -m module` by another program."""
    process = subprocess.Popen(
        [*starter, sys.executable, "-m", module, "--port", "0", *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        stderr=subprocess.PIPE,
        text=True,
    )
    program = Program(process)
    assert process.stderr is not None
    reader = threading.Thread(target=lambda: program.lines.extend(iter(process.stderr.readline, "")))  # type: ignore[union-attr]
    reader.start()
    try:
        yield program
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait(30)
        reader.join(30)
        process.stderr.close()


def started(module: str, *arguments: str, **variables: str) -> contextlib.AbstractContextManager[Program]:
    return started_by((), module, *arguments, **variables)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_after_a_signal_readiness_fails_first_running_requests_finish_and_the_exit_code_is_0(number: int) -> None:
    with started("tests.server.fake_program") as program:
        program.until_ready()
        with httpx.Client(base_url=program.url, timeout=30) as client:
            fields = {"prompt": "a", "max_tokens": 300, "min_tokens": 300}
            whole: list[httpx.Response] = []
            thread = threading.Thread(target=lambda: whole.append(client.post("/v1/generate", json=fields)))
            thread.start()
            with client.stream("POST", "/v1/generate", json={**fields, "stream": True}) as stream:
                lines = (line for line in stream.iter_lines() if line)
                next(lines)
                wait_until(lambda: 'running{model="fake/1"} 2.0' in client.get("/metrics").text)
                program.process.send_signal(number)
                wait_until(lambda: client.get("/readyz").status_code == 503)
                refused = client.post("/v1/generate", json=fields)
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
                *_, last, done = lines
            assert done == "data: [DONE]"
            assert json.loads(last.removeprefix("data: "))["usage"]["completion_tokens"] == 300
            thread.join()
            assert whole[0].status_code == 200
        assert program.process.wait(30) == 0


def test_a_server_that_nohup_started_outlives_its_terminal() -> None:
    with started_by(("nohup",), "tests.server.fake_program") as program:
        program.until_ready()
        program.process.send_signal(signal.SIGHUP)
        assert httpx.post(f"{program.url}/v1/generate", json={"prompt": "a", "max_tokens": 5}).status_code == 200
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(30) == 0
    assert not any("draining" in line for line in program.lines[:-3])


def test_when_the_grace_period_is_over_requests_are_told_and_the_exit_code_is_0() -> None:
    with started("tests.server.fake_program", RNNSERVE_GRACE_SECONDS="0.2") as program:
        program.until_ready()
        with httpx.Client(base_url=program.url, timeout=30) as client:
            fields = {"prompt": "a", "max_tokens": 4096, "min_tokens": 4096, "stream": True}
            with client.stream("POST", "/v1/generate", json=fields) as stream:
                lines = (line for line in stream.iter_lines() if line)
                next(lines)
                program.process.send_signal(signal.SIGTERM)
                *_, last, done = lines
        assert done == "data: [DONE]"
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "draining"
        assert program.process.wait(30) == 0


def test_an_idle_server_ends_at_once_and_a_second_signal_does_not_wait() -> None:
    with started("tests.server.fake_program") as program:
        program.until_ready()
        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(30) == 0
    with started("tests.server.fake_program", "--grace-seconds", "300") as program:
        program.until_ready()
        with httpx.Client(base_url=program.url, timeout=30) as client:
            fields = {"prompt": "a", "n": 16, "max_tokens": 4096, "min_tokens": 4096, "stream": True}
            with client.stream("POST", "/v1/generate", json=fields) as stream:
                lines = (line for line in stream.iter_lines() if line)
                next(lines)
                program.process.send_signal(signal.SIGTERM)
                wait_until(lambda: any('"draining"' in line for line in program.lines))
                program.process.send_signal(signal.SIGTERM)
                *_, last, done = lines
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "draining"
        assert done == "data: [DONE]"
        assert program.process.wait(30) == 0


def test_a_runtime_call_that_never_returns_does_not_keep_the_program_and_sessions_are_written(tmp_path: Path) -> None:
    variables = {
        "RNNSERVE_GRACE_SECONDS": "0.2",
        "RNNSERVE_SESSION_DIR": str(tmp_path),
        "RNNSERVE_SESSION_KEY": "sixteen letters!",
    }
    with started("tests.server.stuck_program", **variables) as program:
        program.until_ready()
        with httpx.Client(base_url=program.url, timeout=30) as client:
            session = client.post("/v1/sessions").json()["id"]
            with ThreadPoolExecutor() as pool:
                asked = pool.submit(client.post, "/v1/generate", json={"prompt": "a"})
                while 'rnnserve_requests_running{model="fake/1"} 1.0' not in httpx.get(f"{program.url}/metrics").text:
                    time.sleep(0.01)
                program.process.send_signal(signal.SIGTERM)
                assert asked.result().status_code == 503
                wait_until(lambda: any("grace period over" in line for line in program.lines))
                program.process.send_signal(signal.SIGTERM)  # again: what it does not wait for is not lost
        assert program.process.wait(30) == 1
    assert [path.name for path in tmp_path.iterdir()] == [f"{session}.session"]


def test_a_call_that_never_returns_is_seen_and_ends_the_program() -> None:
    """A supervisor starts it again; nothing else helps."""
    with started("tests.server.stuck_program", RNNSERVE_STUCK_SECONDS="1.5", RNNSERVE_GRACE_SECONDS="1") as program:
        program.until_ready()
        with httpx.Client(base_url=program.url, timeout=30) as client, ThreadPoolExecutor() as pool:
            asked = pool.submit(httpx.post, f"{program.url}/v1/generate", json={"prompt": "a"}, timeout=30)
            while client.get("/livez").status_code == 200:
                time.sleep(0.02)
            assert client.get("/readyz").status_code == client.get("/health").status_code == 503
            assert asked.result().status_code == 503
        assert program.process.wait(30) == 1
    assert any("engine dead" in line and "fake/1" in line for line in program.lines)


def test_a_process_that_was_stopped_for_a_while_has_not_hung() -> None:
    """As by SIGSTOP or a paused container: the clock has gone on, the call has not."""
    with started("tests.server.stuck_program", RNNSERVE_STUCK_SECONDS="3", RNNSERVE_GRACE_SECONDS="0") as program:
        program.until_ready()
        with httpx.Client(base_url=program.url, timeout=30) as client, ThreadPoolExecutor() as pool:
            asked = pool.submit(httpx.post, f"{program.url}/v1/generate", json={"prompt": "a"}, timeout=30)
            wait_until(lambda: 'running{model="fake/1"} 1.0' in client.get("/metrics").text)
            program.process.send_signal(signal.SIGSTOP)
            time.sleep(3.5)
            program.process.send_signal(signal.SIGCONT)
            assert client.get("/livez").status_code == 200
            assert asked.result().status_code == 503  # in time it is seen all the same
        assert program.process.wait(30) == 1


def test_an_event_loop_that_hangs_ends_the_program() -> None:
    """No probe is answered and no signal handled, so nothing else would end it where nobody asks for /livez."""
    with started("tests.server.stuck_program", "--models", "loop", RNNSERVE_STUCK_SECONDS="1") as program:
        program.until_ready()
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{program.url}/v1/generate", json={"prompt": "a"}, timeout=30)
        assert program.process.wait(30) == 1
    assert any("event loop dead" in line for line in program.lines)


def test_sessions_that_a_full_disk_takes_are_counted_and_the_exit_code_is_1(tmp_path: Path) -> None:
    variables = {"RNNSERVE_SESSION_DIR": str(tmp_path), "RNNSERVE_SESSION_KEY": "sixteen letters!"}
    no_space = ("bash", "-c", 'ulimit -f 0 && exec "$@"', "bash")
    with started_by(no_space, "tests.server.fake_program", **variables) as program:
        program.until_ready()
        for _ in range(3):
            assert httpx.post(f"{program.url}/v1/sessions").status_code == 200
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(30) == 1
    (line,) = [json.loads(line) for line in program.lines if '"sessions lost"' in line]
    assert (line["sessions"], line["of"]) == (3, 3)
    assert list(tmp_path.iterdir()) == []


def test_loading_that_never_ends_does_not_keep_the_program() -> None:
    with started("tests.server.stuck_program", "--models", "never") as program:
        while True:
            with contextlib.suppress(httpx.TransportError):
                assert httpx.get(f"{program.url}/readyz").status_code == 503
                break
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(30) == 1


def test_programs_that_libraries_start_are_given_no_secret() -> None:
    code = """
import subprocess
from models.errors import ConfigError
from server.__main__ import main

def load(settings, _):
    assert settings.session_key and settings.admin_key and settings.api_keys
    raise ConfigError(subprocess.run(["env"], capture_output=True, text=True, check=True).stdout)

raise SystemExit(main(["--port", "0"], load))
"""
    names = ("SESSION_KEY", "ADMIN_KEY", "API_KEYS")
    secrets = {f"RNNSERVE_{name}": f"secret of {name.lower()}" for name in names}
    environment = {**os.environ, **secrets, "RNNSERVE_STORE": "kept"}
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert found.returncode == 1
    assert "RNNSERVE_STORE=kept" in found.stderr
    assert "secret of" not in found.stderr


def test_what_libraries_log_and_warn_of_is_json_too() -> None:
    code = """
import asyncio, logging, warnings
from server.__main__ import configure_logs

async def main():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)

configure_logs()
logging.getLogger("uvicorn.error").error("from uvicorn")
warnings.warn("from a library")
asyncio.run(main())
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in found.stderr.splitlines()]
    assert [line["logger"] for line in lines] == ["uvicorn.error", "py.warnings", "asyncio"]
    assert "ZeroDivisionError" in lines[2]["exception"]


def test_a_store_without_models_ends_the_program_with_the_sentence(tmp_path: Path) -> None:
    with started("server", "--store", str(tmp_path)) as program:
        assert program.process.wait(30) == 1
    assert any("No model can be served" in line and str(tmp_path) in line for line in program.lines)


def test_a_port_in_use_ends_the_program(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with started("tests.server.fake_program", "--port", port) as program:
            assert program.process.wait(30) == 1
    assert any(f"Another program has port {port}. Choose another" in line for line in program.lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max-rows", "0"], "--max-rows (RNNSERVE_MAX_ROWS): Input should be greater than or equal to 1 (got '0')"),
        (["--set", "fp64"], "'fp32', 'int8', 'gpu-fp32' or 'gpu-fp16'"),
        (["--nonsense", "1"], "'--nonsense' is not a flag."),
    ],
)
def test_a_wrong_flag_is_named_and_the_exit_code_is_2(arguments: list[str], words: str) -> None:
    with started("server", *arguments) as program:
        assert program.process.wait(30) == 2
    assert words in "".join(program.lines)
    assert "Traceback" not in "".join(program.lines)
