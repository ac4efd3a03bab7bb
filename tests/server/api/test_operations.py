import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from models.errors import BundleCorruptError
from server.api.generate import GenerateRequest
from server.endpoint import LoadedModel
from server.engine.generation.lane import GenerationScheduler
from server.http.body import MOST_MS
from server.metrics import DURATION_BUCKETS
from server.settings import Settings
from tests.server.running import CHARACTERS, Running, fake_classifier, fake_model, fake_translator, running


def test_loading_is_503_and_alive_until_the_models_are_there() -> None:
    release = threading.Event()

    def load(_: Settings) -> list[LoadedModel]:
        assert release.wait(30)
        return [fake_model()]

    with running(load=load) as server:
        for path in ("/readyz", "/health", "/v1/models"):
            answer = server.client.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "loading")
        refused = server.client.post("/v1/generate", json={"prompt": "a"})
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "unavailable_error")
        assert server.client.get("/livez").status_code == 200
        release.set()
        server.until(lambda: server.client.get("/readyz").status_code == 200)
        assert server.client.get("/health").json() == {"status": "ready", "models": ["fake/1"]}


@pytest.mark.parametrize("error", [BundleCorruptError("weights.safetensors was changed"), ZeroDivisionError("a bug")])
def test_models_that_cannot_be_loaded_leave_a_server_that_says_so(error: Exception) -> None:
    def load(_: Settings) -> list[LoadedModel]:
        raise error

    with running(load=load) as server:
        server.until(lambda: server.service.phase == "failed")
        answer = server.client.get("/readyz")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "load_failed")
        assert str(error) in answer.json()["error"]["message"]


def test_draining_refuses_new_requests_and_readiness() -> None:
    with running() as server:
        server.service.phase = "draining"
        assert server.client.get("/readyz").json()["error"]["code"] == "draining"
        assert server.client.post("/v1/generate", json={"prompt": "a"}).status_code == 503
        assert server.client.get("/livez").status_code == 200


def test_an_engine_that_ended_by_a_bug_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as server:
        (served,) = server.service.registry.models
        monkeypatch.setattr(GenerationScheduler, "next_prefill", None)
        assert server.client.post("/v1/generate", json={"prompt": "a"}).status_code == 500
        server.until(lambda: not served.engine.is_alive)
        assert server.client.get("/livez").status_code == 500
        assert server.client.get("/readyz").status_code == server.client.get("/health").status_code == 503
        value = metrics_of(server)
        assert value("rnnserve_ready") == value("rnnserve_engine_up", model="fake/1") == 0
        answer = server.client.post("/v1/generate", json={"prompt": "a"})
        assert (answer.status_code, answer.json()["error"]["type"]) == (500, "engine_error")


def test_a_request_still_being_tokenized_when_the_engine_stops_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as server:
        (served,) = server.service.registry.models

        async def read_texts(*_: Any) -> list[list[int]]:
            await asyncio.to_thread(served.engine.stop, 5)
            return [[3]]

        monkeypatch.setattr("server.api.generate.read_texts", read_texts)
        for stream in (False, True):
            answer = server.client.post("/v1/generate", json={"prompt": "a", "stream": stream})
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")


def metrics_of(server: Running) -> Callable[..., float]:
    families = text_string_to_metric_families(server.client.get("/metrics").text)
    samples = {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}

    def value(name: str, **labels: Any) -> float:
        return samples[name, tuple(sorted(labels.items()))]

    return value


def test_metrics_count_what_happened() -> None:
    with running(max_requests=1) as server:
        server.generate(prompt="to be", max_tokens=4, min_tokens=4, n=2)
        server.client.post("/v1/generate", json={"prompt": "a", "model": "made up by a client"})
        server.client.post("/v1/generate", content=b"{")
        server.client.get("/nowhere")
        server.steps.gate = threading.Event()
        thread = threading.Thread(target=lambda: server.generate(prompt="a", n=3, max_tokens=1))
        thread.start()
        server.until(lambda: server.service.registry.models[0].engine.gauges.num_running == 3)
        server.client.post("/v1/generate", json={"prompt": "a"})
        value = metrics_of(server)
        server.steps.gate.set()
        thread.join()
        assert value("rnnserve_requests_total", model="fake/1", status="200") == 1
        assert value("rnnserve_requests_total", model="", status="404") == 1
        assert value("rnnserve_requests_total", model="fake/1", status="429") == 1
        assert value("rnnserve_requests_rejected_total", reason="overloaded") == 1
        assert value("rnnserve_requests_rejected_total", reason="json_invalid") == 1
        assert value("rnnserve_requests_rejected_total", reason="model_not_found") == 1
        assert value("rnnserve_requests_rejected_total", reason="route_not_found") == 1
        assert value("rnnserve_requests_running", model="fake/1") == 1
        assert value("rnnserve_requests_limit", model="fake/1") == 1
        assert value("rnnserve_pending_tokens", model="fake/1") == 1 + 3
        assert value("rnnserve_ready") == value("rnnserve_engine_up", model="fake/1") == 1
        assert value("rnnserve_engine_busy_seconds", model="fake/1") > 0
        assert value("rnnserve_connections") >= 2
        assert value("process_resident_memory_bytes") > 0
        assert value("rnnserve_request_duration_seconds_count", model="fake/1") == 1  # of the answered one
        assert value("rnnserve_rows_running", model="fake/1") == 3
        assert value("rnnserve_rows_waiting", model="fake/1") == 0
        assert value("rnnserve_prompt_tokens_total", model="fake/1") == 6
        assert value("rnnserve_generated_tokens_total", model="fake/1") == 8
        assert value("rnnserve_prefilled_tokens_total", model="fake/1") > 0
        assert value("rnnserve_row_steps_total", model="fake/1") == 8
        assert value("rnnserve_batch_size_count", model="fake/1") == 4
        assert value("rnnserve_batch_size_sum", model="fake/1") == 8
        assert value("rnnserve_step_duration_seconds_bucket", model="fake/1", le="+Inf") == 4
        assert value("rnnserve_prefill_duration_seconds_count", model="fake/1") == 1
        assert value("rnnserve_engine_info", model="fake/1", backend="fake", precision="fp32") == 1


def test_the_buckets_of_durations_reach_as_far_as_a_request_may_take() -> None:
    assert DURATION_BUCKETS[-1] > MOST_MS / 1000


def test_the_log_names_the_requests_of_a_failed_call_and_no_session(capsys: pytest.CaptureFixture[str]) -> None:
    with running() as server:
        session = server.post("/v1/sessions")["id"]
        server.client.get(f"/v1/sessions/{session}/state")
        server.steps.fails_at = CHARACTERS.encode("b")[0]
        body = {"prompt": "b", "max_tokens": 9}
        failed = server.client.post("/v1/generate", json=body, headers={"x-request-id": "my-request"})
        assert failed.status_code == 500
    lines = capsys.readouterr().out.splitlines()
    assert not any(session in line for line in lines)
    assert any("{session_id}" in line for line in lines)
    assert any("engine call failed" in line and "my-request" in line for line in lines)


def test_all_tasks_are_counted_in_the_same_families() -> None:
    with running(fake_translator(), fake_classifier()) as server:
        server.translate(text=["to be", "a"], beam_size=2, max_tokens=5)
        server.classify(text=["to be", "b"])
        value = metrics_of(server)
        assert value("rnnserve_requests_total", model="translator/1", status="200") == 1
        assert value("rnnserve_requests_total", model="classifier/1", status="200") == 1
        assert value("rnnserve_prompt_tokens_total", model="translator/1") == 6
        assert value("rnnserve_prompt_tokens_total", model="classifier/1") == 6
        assert value("rnnserve_row_steps_total", model="translator/1") == value(
            "rnnserve_batch_size_sum", model="translator/1"
        )
        assert value("rnnserve_prefill_duration_seconds_count", model="translator/1") >= 1
        assert value("rnnserve_batch_size_sum", model="classifier/1") == 2
        assert value("rnnserve_step_duration_seconds_count", model="classifier/1") >= 1
        for model in ("translator/1", "classifier/1"):
            assert value("rnnserve_rows_running", model=model) == value("rnnserve_rows_waiting", model=model) == 0
            assert value("rnnserve_requests_running", model=model) == 0


def test_models_of_every_task_are_listed_with_what_belongs_to_it() -> None:
    with running(fake_model("lm"), fake_translator(), fake_classifier()) as server:
        cards = {card["id"]: card for card in server.client.get("/v1/models").json()["data"]}
    assert {name: card["task"] for name, card in cards.items()} == {
        "lm": "generation",
        "translator": "translation",
        "classifier": "sentiment",
    }
    assert cards["translator"]["languages"] == {"source": "en", "target": "zh"}
    assert cards["classifier"]["labels"] == ["negative", "neutral", "positive"]
    assert (cards["translator"]["precision"], cards["translator"]["metrics"]) == ("int8", {"bleu": 20.5})
    assert not {"languages", "labels"} & set(cards["lm"])
    assert "labels" not in cards["translator"]


def test_evictions_of_the_prefix_cache_are_counted() -> None:
    with running(prefix_cache_bytes=3000) as server:
        for letter in "abcdefgh":
            server.generate(prompt=letter * 100, max_tokens=1)
        value = metrics_of(server)
        gauges = server.service.registry.models[0].engine.gauges
        assert 0 < value("rnnserve_state_cache_bytes", model="fake/1") == gauges.cache_bytes <= 3000
        assert 0 < value("rnnserve_state_cache_evictions_total", model="fake/1") == gauges.cache_evictions
        assert value("rnnserve_state_cache_queries_total", model="fake/1") == 8 * 99
        assert value("rnnserve_state_cache_hits_total", model="fake/1") == 0


def test_two_apps_in_one_process_count_apart() -> None:
    with running() as one, running() as two:
        one.generate(prompt="a", max_tokens=1)
        assert metrics_of(one)("rnnserve_generated_tokens_total", model="fake/1") == 1
        assert metrics_of(two)("rnnserve_generated_tokens_total", model="fake/1") == 0


def test_models_are_listed_in_openai_shape(server: Running) -> None:
    listed = server.client.get("/v1/models").json()
    assert listed["object"] == "list"
    (card,) = listed["data"]
    assert card["id"] == "fake"
    assert card["object"] == "model"
    assert {key: card[key] for key in ("version", "task", "precision", "backend", "metrics")} == {
        "version": 1,
        "task": "generation",
        "precision": "fp32",
        "backend": "fake",
        "metrics": {"nats_per_token": 1.5},
    }


def test_the_documentation_shows_every_field_of_a_request(server: Running) -> None:
    assert "/openapi.json" in server.client.get("/docs").text
    described = server.client.get("/openapi.json").json()
    operation = described["paths"]["/v1/generate"]["post"]
    request = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = described["components"]["schemas"][request.rsplit("/", 1)[1]]
    assert set(schema["properties"]) == set(GenerateRequest.model_fields)
    assert schema["required"] == ["prompt"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["stop"]["anyOf"][1]["maxItems"] == 16
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert answer.rsplit("/", 1)[1] in described["components"]["schemas"]
    assert set(operation["responses"]) >= {"200", "400", "404", "413", "422", "429", "500", "503"}
