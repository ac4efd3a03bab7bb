"""Whatever a body holds, it is answered with a sentence and loses nothing; the next request is answered as before.

Bodies of good requests, changed at random (bad_bodies.py), are sent to every endpoint of a server of real small models.
"""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgpack
import pytest

from export.build import build_sets, default_sets
from export.user_module.wrap.options import WrapOptions
from export.user_module.wrap.wrap import wrap_model
from models.bundle import Bundle
from tests.end_to_end.bad_bodies import CASES, HEADER_LENGTH, Case, broken, mutated
from tests.end_to_end.real_server import RealServer, real_server
from tests.tiny_models import tiny_forecaster_bundle

MODULES = "tests.export.user_module.wrap.frame_modules"
INPUTS = {
    "Vad": ("frames:float32[batch,time,8]",),
    "Policy": ("action:int64[batch,time]", "seen:float32[batch,time,3]", "goal:float32[batch,2]"),
}
BUILT = {"generation": "text", "translation": "translator", "sentiment": "classifier", "tagging": "tagger"}
COUNT = 30


@pytest.fixture(scope="module")
def server(built_bundle: Callable[..., Bundle], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    store = tmp_path_factory.mktemp("bodies") / "store"
    for task, name in BUILT.items():
        shutil.copytree(built_bundle("gru", task).path.parent, store / name)
    forecaster = tiny_forecaster_bundle(store)
    build_sets(forecaster, default_sets(forecaster))
    for module, inputs in INPUTS.items():
        wrap_model(WrapOptions(f"{MODULES}:{module}", "sequence", None, store / module.lower(), inputs=inputs))
    environment = {
        "RNNSERVE_SESSION_KEY": "that sessions can be looked at",
        "RNNSERVE_REFUSAL_SECONDS": "0",
        "RNNSERVE_ADMIN_KEY": "that models can be listed",
    }
    with real_server(store, log=store.parent / "log", environment=environment) as running:
        running.client.headers["authorization"] = "Bearer that models can be listed"
        yield running


def send(server: RealServer, path: str, body: dict[str, Any], session: str, tail: bytes = b"") -> httpx.Response:
    """A good request."""
    head = json.dumps(body).replace("SESSION", session).encode()
    headers = {HEADER_LENGTH: str(len(head))} if tail else {}
    found = server.client.post(path.replace("SESSION", session), content=head + tail, headers=headers)
    assert found.status_code == 200, found.text
    return found


def essence(answer: httpx.Response) -> Any:
    """What does not change when the same is asked again."""
    if answer.headers["content-type"] == "application/octet-stream":
        return answer.content
    found = answer.json()
    if isinstance(found, dict):
        found = {key: value for key, value in found.items() if key not in ("id", "expires")}
        found.get("usage", {}).pop("cached_tokens", None)
    return found


class Held:
    """What a case's requests go on from: its session, or its sequence, begun anew where a request has moved it."""

    def __init__(self, server: RealServer, case: Case) -> None:
        self._server = server
        self._case = case
        self.session = ""
        self.begin()

    def begin(self) -> None:
        case = self._case
        if case.session:
            if self.session:
                self._server.client.delete(f"/v1/sessions/{self.session}")
            made = self._server.client.post("/v1/sessions", json={"model": case.session})
            self.session = made.json()["id"]
        if case.before is not None:
            send(self._server, *case.before, self.session)

    def contents(self) -> Any:
        """The session, bit for bit; of a sequence nothing can be seen."""
        if not self.session:
            return None
        found = self._server.client.get(f"/v1/sessions/{self.session}/state")
        assert found.status_code == 200, found.text
        return msgpack.unpackb(found.content[:-32])

    def answer(self) -> Any:
        """What the good request is answered from here; moves it, and begins anew."""
        found = essence(send(self._server, self._case.path, self._case.body, self.session, self._case.tail))
        self.begin()
        return found


def check_error(answer: httpx.Response, path: str) -> None:
    assert 400 <= answer.status_code < 500
    assert len(answer.content) < 2000
    error = answer.json()["error"]
    is_dialect = path.startswith(("/v2", "/models/", "/predict"))
    message = error if is_dialect else error["message"]
    assert message.endswith(".")
    assert " " in message
    if not is_dialect:
        assert set(error) == {"message", "type", "param", "code"}
    elif not path.startswith("/v2"):
        assert set(answer.json()) == {"error", "error_type"}
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("count", [COUNT, pytest.param(3000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CASES)
def test_a_body_changed_at_random_is_refused_in_a_sentence_and_loses_nothing(
    server: RealServer, name: str, count: int
) -> None:
    case = CASES[name]
    held = Held(server, case)
    expected, num_refused = held.answer(), 0
    for seed in range(count):
        draw = random.Random(f"{name} {seed}")
        content, headers = mutated(case, draw)
        content = content.replace(b"SESSION", held.session.encode())
        before = held.contents()
        answer = server.client.post(case.path.replace("SESSION", held.session), content=content, headers=headers)
        try:
            if answer.status_code == 200:
                held.begin()
                continue
            num_refused += 1
            if answer.status_code != 504 or b'"timeout"' not in content:  # a time that the body itself asks for
                check_error(answer, case.path)
            assert held.contents() == before
        except AssertionError as error:
            raise AssertionError(
                f"{name} {seed}: {answer.status_code} {answer.text[:300]} to {content[:600]!r}"
            ) from error
        if seed % 10 == 0 and case.is_repeatable:
            assert held.answer() == expected, f"{name} {seed}"
    if case.is_repeatable:
        assert held.answer() == expected
    assert num_refused > count / 4
    assert server.process.poll() is None
    assert server.client.get("/livez").status_code == 200


@pytest.mark.parametrize("model", ["text", "vad", "forecaster"])
def test_a_state_changed_at_random_is_refused_and_the_session_stays(server: RealServer, model: str) -> None:
    name = {"text": "generate in a session", "vad": "frames of a session", "forecaster": "forecast in a session"}[model]
    held = Held(server, CASES[name])
    path = f"/v1/sessions/{held.session}/state"
    content = server.client.get(path).content
    for seed in range(40):
        changed = broken(content, random.Random(seed))
        answer = server.client.put(path, content=changed)
        assert answer.status_code == (200 if changed == content else 422), f"{seed}: {answer.text}"
        if changed != content:
            check_error(answer, path)
        assert server.client.get(path).content == content
