"""x-request-timeout-ms and the times in answers, over a real socket."""

import gc
import json
import socket
import threading
import weakref
from typing import Any

import pytest

from server.endpoint import LoadedModel
from server.engine.engine import AnyEngine
from server.text.languages import detect
from tests.server.running import Running, fake_classifier, fake_model, fake_set, fake_translator, running

ASKED: dict[str, dict[str, Any]] = {
    "/v1/generate": {"prompt": "to be", "max_tokens": 4096, "min_tokens": 4096},
    "/v1/translate": {"text": "to be", "max_tokens": 1024},
    "/v1/sentiment": {"text": "to be"},
}
SHORT = {"/v1/generate": {"max_tokens": 2, "min_tokens": 0}, "/v1/translate": {"max_tokens": 2}}
TASKS = list(ASKED)


def _runner(model: LoadedModel) -> Any:
    """What makes the model's calls."""
    graphs = fake_set(model)
    runners = {"generation": graphs.step_runner, "translation": graphs.attention_runner}
    return runners.get(model.task, graphs.sequence_runner)


@pytest.fixture
def all_tasks() -> Any:
    with running(fake_model(), fake_translator(), fake_classifier()) as server:
        yield server


def gates(server: Running) -> list[threading.Event]:
    """Closed: no call of any model ends before they are set."""
    found = []
    for model in server.models.values():
        runner = _runner(model)
        runner.gate = threading.Event()
        found.append(runner.gate)
    return found


@pytest.mark.parametrize("path", TASKS)
def test_a_request_that_takes_too_long_is_504_and_its_work_stops(path: str, all_tasks: Running) -> None:
    detect("to be")  # its tables are loaded: the time is over while the engine works, not before
    closed = gates(all_tasks)
    answer = all_tasks.client.post(path, json=ASKED[path], headers={"x-request-timeout-ms": "80"})
    assert answer.status_code == 504
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("deadline_error", "deadline_exceeded")
    assert "80 ms" in error["message"]
    for gate in closed:
        gate.set()
    all_tasks.until(lambda: not any(item.engine.gauges.num_running for item in all_tasks.service.registry.models))
    assert all(item.limiter.permits.num_taken == 0 for item in all_tasks.service.registry.models)
    assert 'reason="deadline"} 1.0' in all_tasks.client.get("/metrics").text


def test_a_request_whose_time_is_over_while_its_text_is_read_is_counted(
    all_tasks: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = threading.Event()

    def slow(text: str, language: str) -> None:
        read.wait(30)

    monkeypatch.setattr("server.api.translate.mismatch", slow)
    monkeypatch.setattr("server.api.translate.is_long", lambda texts: True)  # it is read beside the event loop
    answer = all_tasks.client.post("/v1/translate", json={"text": "to be"}, headers={"x-request-timeout-ms": "80"})
    read.set()
    assert answer.status_code == 504
    assert 'reason="deadline"} 1.0' in all_tasks.client.get("/metrics").text


@pytest.mark.parametrize("path", TASKS)
def test_a_request_that_is_over_is_freed_at_once(
    path: str, all_tasks: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    references: list[weakref.ref[Any]] = []

    def watch(engine: AnyEngine) -> None:
        submit = engine.submit

        def watched_submit(request: Any) -> None:
            references.append(weakref.ref(request.outputs))
            submit(request)

        monkeypatch.setattr(engine, "submit", watched_submit)

    for endpoint in all_tasks.service.registry.models:
        watch(endpoint.engine)
    gc.disable()
    try:
        for _ in range(2):  # the second, so that the lane has let go of the first
            assert all_tasks.client.post(path, json=ASKED[path] | SHORT.get(path, {})).status_code == 200
        all_tasks.until(lambda: references[0]() is None)
    finally:
        gc.enable()


def test_a_body_that_stops_arriving_is_504(all_tasks: Running) -> None:
    head = "POST /v1/generate HTTP/1.1\r\nhost: localhost\r\nx-request-timeout-ms: 80\r\ncontent-length: 40\r\n\r\n"
    with socket.create_connection(("127.0.0.1", all_tasks.port), timeout=30) as connection:
        connection.sendall(head.encode() + b'{"prompt":')
        answer = connection.makefile("rb").read()  # to the end: the connection is closed
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert b"The body was not here after 5 s." in answer


def test_a_stream_that_has_begun_ends_with_the_error_as_an_event(all_tasks: Running) -> None:
    asked = {**ASKED["/v1/generate"], "stream": True}
    lines: list[str] = []
    headers = {"x-request-timeout-ms": "300"}
    with all_tasks.client.stream("POST", "/v1/generate", json=asked, headers=headers) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line and not lines:
                gates(all_tasks)  # from here on nothing comes
            lines += [line] if line else []
    for model in all_tasks.models.values():
        runner = _runner(model)
        runner.gate.set()
    assert lines[-1] == "data: [DONE]"
    assert json.loads(lines[-2].removeprefix("data: "))["error"]["code"] == "deadline_exceeded"


@pytest.mark.parametrize("value", ["0", "600001", "-1", "1.5", "soon", "", "9" * 5000, "１"])
def test_a_wrong_header_is_named(value: str, all_tasks: Running) -> None:
    for path in TASKS:
        headers = {"x-request-timeout-ms": value.encode("utf-8")}
        answer = all_tasks.client.post(path, json=ASKED[path], headers=headers)  # type: ignore[arg-type]
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert error["param"] == "x-request-timeout-ms"
        assert "from 1 to 600000" in error["message"]


def test_the_default_is_a_setting() -> None:
    with running(request_timeout_ms=50) as server:
        (gate,) = gates(server)
        assert server.client.post("/v1/generate", json=ASKED["/v1/generate"]).status_code == 504
        gate.set()


@pytest.mark.parametrize("path", TASKS)
def test_a_whole_answer_tells_its_times(path: str, all_tasks: Running) -> None:
    asked = {**ASKED[path], **({} if path == "/v1/sentiment" else {"max_tokens": 3}), "min_tokens": 0}
    asked = asked if path == "/v1/generate" else {key: value for key, value in asked.items() if key != "min_tokens"}
    answer = all_tasks.client.post(path, json=asked)
    assert answer.status_code == 200, answer.text
    queue, inference, total = (float(answer.headers[f"x-{name}-time"]) for name in ("queue", "inference", "total"))
    assert queue >= 0
    assert inference >= 0
    assert total == pytest.approx(queue + inference, abs=0.01)
    text = all_tasks.client.get("/metrics").text
    assert "rnnserve_queue_duration_seconds_count" in text
    if path != "/v1/sentiment":
        assert 'rnnserve_time_to_first_token_seconds_count{model="' in text


@pytest.mark.parametrize("path", ["/v1/generate", "/v1/translate"])
def test_a_streams_last_event_alone_tells_its_times(path: str, all_tasks: Running) -> None:
    extra = {"beam_size": 1} if path == "/v1/translate" else {"min_tokens": 0}
    asked = {**ASKED[path], "max_tokens": 5, "stream": True, **extra}
    with all_tasks.client.stream("POST", path, json=asked) as answer:
        assert "x-total-time" not in answer.headers
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line and not line.endswith("[DONE]")]
    assert ["timings" in event for event in events] == [False] * (len(events) - 1) + [True]
    assert list(events[-1]["timings"]) == ["queue_time", "inference_time", "total_time"]


def test_an_error_tells_no_times(all_tasks: Running) -> None:
    assert "x-total-time" not in all_tasks.client.post("/v1/generate", json={}).headers
