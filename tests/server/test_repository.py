"""Models loaded and unloaded while the server runs, by NVIDIA's own client over a real socket; of real small models."""

import asyncio
import contextlib
import gc
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from models.bundle import Bundle
from server.endpoint import LoadedModel
from server.loading import load_models
from server.settings import Settings
from server.tasks import BY_NAME
from tests.server.running import Running, running

ADMIN = "an operator's key"
HEADERS = {"authorization": f"Bearer {ADMIN}"}


@pytest.fixture(scope="module")
def bundles(built_bundle: Callable[..., Bundle]) -> dict[str, Bundle]:
    return {"text": built_bundle("gru", "generation"), "classifier": built_bundle("gru", "sentiment")}


@pytest.fixture
def store(bundles: dict[str, Bundle], tmp_path: Path) -> Path:
    for name, bundle in bundles.items():
        shutil.copytree(bundle.path, tmp_path / "store" / name / "1")
    return tmp_path / "store"


class Own:
    """A server of a store whose loading can be held."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.gate = threading.Event()
        self.gate.set()
        self.loads: list[tuple[str, ...]] = []
        self.bundle = ""  # what a model's bundle is called instead of its own sha256
        self.server: Running

    def load(self, settings: Settings) -> list[LoadedModel]:
        self.loads.append(settings.models)
        assert self.gate.wait(30)
        models = load_models(settings, BY_NAME)
        return [replace(model, bundle_sha256=self.bundle or model.bundle_sha256) for model in models]

    def change(self, model: str, what: str) -> httpx.Response:
        address = f"{self.server.url}/v2/repository/models/{model}/{what}"
        return httpx.post(address, headers=HEADERS, timeout=60)

    def states(self) -> dict[str, tuple[str, str]]:
        answer = self.server.client.post("/v2/repository/index", headers=HEADERS)
        return {f"{item['name']}/{item['version']}": (item["state"], item["reason"]) for item in answer.json()}

    def generate(self, **fields: Any) -> httpx.Response:
        body = {"prompt": "to be", "max_tokens": 8, "seed": 1, **fields}
        return httpx.post(f"{self.server.url}/v1/generate", json=body, timeout=60)


@pytest.fixture
def own(store: Path) -> Iterator[Own]:
    found = Own(store)
    with running(
        load=found.load, store=store, admin_key=ADMIN, grace_seconds=20, session_key="sixteen letters!"
    ) as server:
        server.until(lambda: server.service.phase == "ready")
        found.server = server
        yield found
        found.gate.set()


@pytest.fixture
def client(own: Own) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{own.server.port}") as found:
        yield found


def test_a_model_is_unloaded_and_loaded_again(own: Own, client: triton.InferenceServerClient) -> None:
    before = own.generate().json()["choices"]
    assert "model_repository" in client.get_server_metadata()["extensions"]
    assert own.states() == {"classifier/1": ("READY", ""), "text/1": ("READY", "")}
    client.unload_model("text", headers=HEADERS)
    assert own.states()["text/1"] == ("UNAVAILABLE", "not loaded")
    ready = client.get_model_repository_index(headers=HEADERS)
    assert [item["name"] for item in ready if item["state"] == "READY"] == ["classifier"]
    assert client.is_server_ready()
    assert not client.is_model_ready("text")
    assert own.generate(model="text").status_code == 404
    assert "text/1" not in own.server.client.get("/metrics").text.partition("rnnserve_engine_up{")[2].partition("#")[0]
    client.load_model("text", headers=HEADERS)
    assert client.is_model_ready("text")
    assert own.generate().json()["choices"] == before


def test_only_who_has_the_key_may(own: Own, client: triton.InferenceServerClient, store: Path) -> None:
    calls: tuple[Callable[[dict[str, str]], Any], ...] = (
        lambda headers: client.unload_model("text", headers=headers),
        lambda headers: client.load_model("text", headers=headers),
        lambda headers: client.get_model_repository_index(headers=headers),
    )
    for call in calls:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": ADMIN}):
            with pytest.raises(InferenceServerException, match="by operators alone: send the header") as caught:
                call(headers)
            assert caught.value.status() == "403"
    with running(load=own.load, store=store) as server:
        server.until(lambda: server.service.phase == "ready")
        answer = server.client.post("/v2/repository/models/text/unload", headers=HEADERS)
        assert answer.status_code == 403
        assert "set RNNSERVE_ADMIN_KEY" in answer.json()["error"]
        assert "model_repository" not in server.client.get("/v2").json()["extensions"]
    assert own.generate().status_code == 200


def test_a_key_for_requests_is_none_for_operators(store: Path) -> None:
    own = Own(store)
    with running(load=own.load, store=store, admin_key=ADMIN, api_keys=("a key for requests",)) as server:
        server.until(lambda: server.service.phase == "ready")
        address = "/v2/repository/models/text/unload"
        assert server.client.post(address).status_code == 401
        refused = server.client.post(address, headers={"authorization": "Bearer a key for requests"})
        assert (refused.status_code, set(refused.json())) == (403, {"error"})
        assert server.client.post(address, headers=HEADERS).status_code == 200


def test_a_server_that_ends_waits_for_a_model_that_is_being_read(store: Path) -> None:
    own = Own(store)
    with ThreadPoolExecutor(1) as pool:
        with running(load=own.load, store=store, admin_key=ADMIN) as own.server:
            own.server.until(lambda: own.server.service.phase == "ready")
            assert own.change("text", "unload").status_code == 200
            own.gate.clear()
            answer = pool.submit(own.change, "text", "load")
            own.server.until(lambda: len(own.loads) == 2)
            threading.Timer(2, own.gate.set).start()  # when its connection has been closed
        assert not own.server.service.is_stuck
        assert [item.id for item in own.server.service.repository.endpoints] == ["classifier/1"]
        with contextlib.suppress(httpx.TransportError):  # uvicorn has cancelled the request after a second
            assert answer.result().status_code >= 500


def test_what_cannot_be_done_is_the_clients_exception(own: Own, client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match=r"Model 'nobody' not found in .*Models: classifier, text"):
        client.load_model("nobody", headers=HEADERS)
    with pytest.raises(InferenceServerException, match="Version '7' of model text not found"):
        client.load_model("text/7", headers=HEADERS)
    with pytest.raises(InferenceServerException, match="not found"):
        client.load_model("../text", headers=HEADERS)
    with pytest.raises(InferenceServerException, match=r"'nobody' is not loaded\. Loaded models: classifier/1, text/1"):
        client.unload_model("nobody", headers=HEADERS)
    with pytest.raises(InferenceServerException, match="Parameter 'config' is not offered"):
        client.load_model("text", headers=HEADERS, config="{}")
    (own.store / "broken" / "1").mkdir(parents=True)
    with pytest.raises(InferenceServerException, match="Model broken/1 could not be loaded: ") as caught:
        client.load_model("broken", headers=HEADERS)
    assert caught.value.status() == "400"
    state, reason = own.states()["broken/1"]
    assert state == "UNAVAILABLE"
    assert reason
    assert own.server.client.post("/v2/repository/index", content=b"[", headers=HEADERS).status_code == 400


def test_a_new_version_is_served_beside_the_old_one(own: Own, client: triton.InferenceServerClient) -> None:
    shutil.copytree(own.store / "text" / "1", own.store / "text" / "2")
    assert own.states()["text/2"] == ("UNAVAILABLE", "not loaded")
    client.load_model("text", headers=HEADERS)
    assert [own.generate(model=name).json()["model"] for name in ("text", "text/1", "text/2")] == [
        "text/2",
        "text/1",
        "text/2",
    ]
    client.unload_model("text/2", headers=HEADERS)
    assert own.generate(model="text").json()["model"] == "text/1"
    client.load_model("text/2", headers=HEADERS)
    client.unload_model("text", headers=HEADERS)
    assert {model: state for model, (state, _) in own.states().items()} == {
        "classifier/1": "READY",
        "text/1": "UNAVAILABLE",
        "text/2": "UNAVAILABLE",
    }


def test_a_model_loaded_twice_at_once_is_read_once(own: Own, client: triton.InferenceServerClient) -> None:
    client.unload_model("text", headers=HEADERS)
    own.gate.clear()
    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(own.change, "text", "load") for _ in range(3)]
        own.server.until(lambda: own.loads[1:] == [("text/1",)])
        assert own.states()["text/1"] == ("LOADING", "")
        assert own.server.classify(text="to be")  # others go on
        assert own.generate(model="text").status_code == 404
        unloading = pool.submit(own.change, "text", "unload")  # waits until it is there
        time.sleep(0.1)
        assert not unloading.done()
        own.gate.set()
        assert [answer.result().status_code for answer in answers] == [200] * 3
        assert unloading.result().status_code in (200, 404)
    assert own.loads[1:2] == [("text/1",)]


def test_requests_that_run_are_answered_and_new_ones_refused(own: Own) -> None:
    with ThreadPoolExecutor(4) as pool:
        running_ones = [pool.submit(own.generate, max_tokens=4000, min_tokens=4000, seed=n) for n in range(2)]
        own.server.until(lambda: own.server.service.num_requests == 2)
        unloading = pool.submit(own.change, "text", "unload")
        own.server.until(lambda: own.states()["text/1"][0] == "UNLOADING")
        assert own.generate(model="text").status_code == 404
        assert own.server.service.num_requests == 2
        for answer in running_ones:
            found = answer.result()
            assert found.status_code == 200, found.text
            assert found.json()["usage"]["completion_tokens"] == 4000
        assert unloading.result().status_code == 200
    assert own.states()["text/1"][0] == "UNAVAILABLE"


def test_after_the_grace_period_what_remains_is_refused(store: Path) -> None:
    own = Own(store)
    with running(load=own.load, store=store, admin_key=ADMIN, grace_seconds=0.1) as own.server:
        own.server.until(lambda: own.server.service.phase == "ready")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(own.generate, max_tokens=4096, min_tokens=4096, n=16)
            own.server.until(lambda: own.server.service.num_requests == 1)
            assert own.change("text", "unload").status_code == 200
            assert answer.result().status_code == 503
            assert "is being unloaded" in answer.result().json()["error"]["message"]
        assert own.server.service.num_requests == 0


def test_a_session_is_kept_and_goes_on_when_its_model_is_back(own: Own, client: triton.InferenceServerClient) -> None:
    session = own.server.post("/v1/sessions", model="text")["id"]
    twin = own.server.post("/v1/sessions", model="text")["id"]
    for name in (session, twin):
        assert own.generate(session=name).status_code == 200
    state = own.server.client.get(f"/v1/sessions/{session}/state").content
    client.unload_model("text", headers=HEADERS)
    assert own.server.client.get(f"/v1/sessions/{session}").json()["tokens"] > 0
    assert own.server.client.get(f"/v1/sessions/{session}/state").content == state
    assert own.generate(session=session).status_code == 404
    rewound = own.server.client.post(f"/v1/sessions/{session}/rewind", json={"to": 8})
    assert (rewound.status_code, rewound.json()["error"]["code"]) == (404, "model_not_found")
    client.load_model("text", headers=HEADERS)
    ways = [own.generate(session=name, prompt="or not").json()["choices"] for name in (session, twin)]
    assert ways[0] == ways[1]


def test_a_session_of_another_bundle_is_not_gone_on_in(own: Own, client: triton.InferenceServerClient) -> None:
    session = own.server.post("/v1/sessions", model="text")["id"]
    own.generate(session=session)
    client.unload_model("text", headers=HEADERS)
    own.bundle = "another one, as it was published anew"
    client.load_model("text", headers=HEADERS)
    answer = own.generate(session=session)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "session_not_loaded")
    assert "before it was loaded anew" in answer.json()["error"]["message"]
    assert own.generate().status_code == 200


def test_nothing_of_an_unloaded_model_stays_in_memory(own: Own, client: triton.InferenceServerClient) -> None:
    own.generate()
    graphs = [weakref.ref(item.model.opened) for item in own.server.service.repository.registry.models]
    gc.disable()
    try:
        for name in ("text", "classifier"):
            client.unload_model(name, headers=HEADERS)
        assert [ref() for ref in graphs] == [None, None]
    finally:
        gc.enable()
    assert own.server.client.get("/readyz").status_code == 200
    client.load_model("text", headers=HEADERS)  # with no model there is still room for the request
    assert own.generate().status_code == 200


def test_random_changes_and_requests_leave_a_server_that_works(own: Own) -> None:
    async def main() -> None:
        async with httpx.AsyncClient(base_url=own.server.url, timeout=60) as client:

            async def change(number: int) -> None:
                for step in range(4):
                    what = ("load", "unload")[(number + step) % 2]
                    answer = await client.post(f"/v2/repository/models/text/{what}", headers=HEADERS)
                    assert answer.status_code in ((200, 404) if what == "unload" else (200,)), answer.text

            async def ask() -> None:
                for seed in range(20):
                    body = {"prompt": "to be", "max_tokens": 30, "seed": seed, "model": "text"}
                    answer = await client.post("/v1/generate", json=body)
                    assert answer.status_code in (200, 404), answer.text

            async def watch() -> None:  # as the program does, which ends where an engine has
                while not is_over:
                    assert own.server.service.is_alive
                    await asyncio.sleep(0.001)

            is_over, watching = False, asyncio.create_task(watch())
            await asyncio.gather(*(change(number) for number in range(4)), *(ask() for _ in range(6)))
            is_over = True
            await watching

    asyncio.run(main())
    own.change("text", "load")
    assert own.generate().status_code == 200
    assert own.server.service.num_requests == 0
    assert own.states() == {"classifier/1": ("READY", ""), "text/1": ("READY", "")}


def test_statistics_are_those_of_the_metrics(own: Own, client: triton.InferenceServerClient) -> None:
    assert own.generate(prompt=["to be", "or not"]).status_code == 200
    assert own.generate(prompt="").status_code == 422
    own.server.classify(text=["to be"] * 5)
    stats = {item["name"]: item for item in client.get_inference_statistics()["model_stats"]}
    assert set(stats) == {"classifier", "text"}
    found = stats["text"]
    assert client.get_inference_statistics("text")["model_stats"][0] == found
    assert client.get_inference_statistics("text", "1")["model_stats"][0] == found
    assert (found["version"], found["inference_count"]) == ("1", 2)
    assert abs(found["last_inference"] / 1000 - time.time()) < 60
    inner = found["inference_stats"]
    assert inner["success"]["count"] == 1
    assert inner["queue"]["count"] == 1
    assert found["execution_count"] == inner["compute_infer"]["count"] >= 1
    assert inner["success"]["ns"] > inner["compute_infer"]["ns"] > 0
    assert stats["classifier"]["inference_count"] == 5
    assert stats["classifier"]["inference_stats"]["fail"] == {"count": 0, "ns": 0}
    late = {"x-request-timeout-ms": "1"}
    own.server.client.post(
        "/v1/generate", json={"prompt": "to be", "max_tokens": 4096, "min_tokens": 4096}, headers=late
    )
    found = client.get_inference_statistics("text")["model_stats"][0]
    assert found["inference_stats"]["fail"]["count"] == 1
    assert found["inference_stats"]["fail"]["ns"] > 0
    with pytest.raises(InferenceServerException, match="Model 'nobody' not found"):
        client.get_inference_statistics("nobody")
