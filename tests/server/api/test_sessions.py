"""/v1/sessions and `session` of /v1/generate as API.md says them, over a real socket."""

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.api.sessions import SessionAnswer, SessionList
from server.sessions.point import Point
from tests.server.api.test_generate import streamed, whole_of, without_id
from tests.server.running import BYTES, Running, fake_model, fake_translator, running, wait_until

ADMIN = "operators, sixteen"
ADMIN_HEADER = {"authorization": f"Bearer {ADMIN}"}
KEY: dict[str, Any] = {"session_key": "sixteen letters!", "admin_key": ADMIN}
TURNS: list[dict[str, Any]] = [
    {"prompt": "to be", "max_tokens": 9, "min_tokens": 9},
    {"prompt": " or not", "max_tokens": 40, "repetition_penalty": 1.7, "frequency_penalty": 0.5},
    {"prompt": "t", "max_tokens": 200, "min_tokens": 3, "stop": ["a", "be", "生"]},
    {"prompt": "o be" * 20, "max_tokens": 70, "temperature": 0, "logprobs": 2},
    {"prompt": "?", "max_tokens": 1},
    {"prompt": "that is", "max_tokens": 50, "top_k": 5, "echo": True},
]


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(**KEY) as instance:
        yield instance


@pytest.fixture
def own() -> Iterator[Running]:
    """A server to be broken or held."""
    with running(**KEY) as instance:
        yield instance


def created(server: Running, **fields: Any) -> str:
    session_id: str = server.post("/v1/sessions", **fields)["id"]
    return session_id


def look(server: Running, session: str) -> dict[str, Any]:
    answer: dict[str, Any] = server.client.get(f"/v1/sessions/{session}").json()
    return answer


def point(server: Running, session: str) -> Point:
    return server.service.sessions.find(session).point


def error(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()["error"]
    return found


def text_of(answer: dict[str, Any]) -> str:
    text: str = answer["choices"][0]["text"]
    return text


def test_sessions_are_listed_to_operators_alone(server: Running) -> None:
    for headers in ({}, {"authorization": "Bearer another key, longer"}, {"authorization": ADMIN[:-1]}):
        assert server.client.get("/v1/sessions", headers=headers).status_code == 403
    with running(session_key="sixteen letters!") as without_key:
        assert without_key.client.get("/v1/sessions", headers=ADMIN_HEADER).status_code == 404


def test_a_session_is_made_listed_looked_at_and_removed(server: Running) -> None:
    before = time.time()
    answer = server.post("/v1/sessions", model="fake", ttl_seconds=100)
    SessionAnswer.model_validate(answer, strict=True, extra="forbid")
    assert (answer["model"], answer["tokens"]) == ("fake/1", 0)
    assert before + 100 <= answer["expires"] <= time.time() + 101
    session = answer["id"]
    assert look(server, session) == answer
    listed = server.client.get("/v1/sessions", headers=ADMIN_HEADER).json()
    SessionList.model_validate(listed, strict=True, extra="forbid")
    assert answer in listed["data"]
    assert server.client.delete(f"/v1/sessions/{session}").json() == {"id": session, "deleted": True}
    for refusal in (
        server.client.get(f"/v1/sessions/{session}"),
        server.client.delete(f"/v1/sessions/{session}"),
        server.client.post(f"/v1/sessions/{session}/fork"),
        server.client.post(f"/v1/sessions/{session}/rewind", json={"to": 0}),
        server.client.get(f"/v1/sessions/{session}/state"),
        server.client.post("/v1/generate", json={"prompt": "a", "session": session}),
    ):
        refused = error(refusal, 410)
        assert refused["code"] == "session_deleted"
        assert session in refused["message"]
        assert "POST /v1/sessions" in refused["message"]


def test_the_body_may_be_left_out_where_nothing_need_be_said(server: Running) -> None:
    session = server.client.post("/v1/sessions").json()["id"]
    assert server.client.post(f"/v1/sessions/{session}/fork").status_code == 200


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("", {"ttl_seconds": 0}, "ttl_seconds"),
        ("", {"ttl_seconds": 1.5}, "ttl_seconds"),
        ("", {"ttl_seconds": 10**9}, "ttl_seconds"),
        ("", {"ttl": 5}, "ttl"),
        ("/x/fork", {"to": 5}, "to"),
        ("/x/rewind", {}, "to"),
        ("/x/rewind", {"to": -1}, "to"),
        ("/x/rewind", {"to": "1"}, "to"),
    ],
)
def test_a_wrong_field_is_named(server: Running, path: str, fields: dict[str, Any], param: str) -> None:
    assert error(server.client.post(f"/v1/sessions{path}", json=fields), 422)["param"] == param


@pytest.mark.parametrize("tokenizer", ["character", "bytes"])
def test_a_conversation_is_one_call_with_all_its_text(server: Running, tokenizer: str) -> None:
    """With a tokenizer of characters, whose tokens do not hang on where a text is cut; whole and streamed."""
    if tokenizer == "bytes":
        with running(fake_model(tokenizer=BYTES)) as where:
            check_that_streamed_is_whole(where)
        return
    check_that_streamed_is_whole(server)
    session, text = created(server), ""
    for seed, turn in enumerate(TURNS):
        asked = {**turn, "seed": seed}
        found = server.generate(**asked, session=session)
        plain = server.generate(**{**asked, "prompt": text + turn["prompt"]})
        skipped = len(text) if turn.get("echo") else 0
        assert text_of(found) == text_of(plain)[skipped:]
        assert {**found["choices"][0], "text": 0, "logprobs": 0} == {**plain["choices"][0], "text": 0, "logprobs": 0}
        if "logprobs" in turn:
            assert found["choices"][0]["logprobs"] == plain["choices"][0]["logprobs"]
        assert found["usage"]["prompt_tokens"] == len(turn["prompt"])
        text += text_of(found) if turn.get("echo") else turn["prompt"] + text_of(found)
        assert look(server, session)["tokens"] == len(text)


def check_that_streamed_is_whole(server: Running) -> None:
    sessions = created(server), created(server)
    for seed, turn in enumerate(TURNS):
        whole = server.generate(**turn, seed=seed, session=sessions[0])
        events = streamed(server, **turn, seed=seed, session=sessions[1])
        assert without_id(whole) == without_id(whole_of(events))
        first, second = (point(server, session) for session in sessions)
        assert first.tokens.tobytes() == second.tokens.tobytes()
        assert first.row.tobytes() == second.row.tobytes()


def test_the_session_has_changed_and_is_free_before_the_answer_is_there(server: Running) -> None:
    session = created(server)
    for number in range(1, 21):
        asked = {"prompt": "ab", "max_tokens": 3, "min_tokens": 3, "session": session, "stream": True}
        with server.client.stream("POST", "/v1/generate", json=asked) as stream:
            next(line for line in stream.iter_lines() if "usage" in line)
            found = server.service.sessions.find(session)
            assert (found.is_busy, len(found.point.tokens)) == (False, 5 * number)


def test_a_session_takes_one_prompt_one_choice_and_its_own_model() -> None:
    with running(fake_model("one"), fake_model("two"), fake_translator()) as server:
        refused = error(server.client.post("/v1/sessions", json={}), 422)
        assert (refused["param"], refused["code"]) == ("model", "field_missing")
        assert error(server.client.post("/v1/sessions", json={"model": "translator"}), 422)["param"] == "model"
        session = created(server, model="two")
        assert server.generate(prompt="a", max_tokens=1, session=session)["model"] == "two/1"
        assert server.generate(prompt="a", max_tokens=1, session=session, model="two/1")["model"] == "two/1"
        for fields in ({"n": 2}, {"prompt": ["a", "b"]}):
            asked = {"prompt": "a", "session": session, **fields}
            assert error(server.client.post("/v1/generate", json=asked), 422)["param"] == "session"
        asked = {"prompt": "a", "session": session, "model": "one"}
        refused = error(server.client.post("/v1/generate", json=asked), 422)
        assert refused["param"] == "model"
        assert "belongs to two/1" in refused["message"]


def test_a_session_of_a_pinned_version_goes_on_after_a_newer_one_was_published(tmp_path: Path) -> None:
    """A bare name, or none, means the highest version that is loaded."""
    old, new = fake_model(version=1), fake_model(version=2)
    settings: dict[str, Any] = {"session_dir": tmp_path, **KEY}
    with running(old, **settings) as server:
        session = created(server)
        first = server.generate(prompt="a", max_tokens=3, seed=1, session=session)
    with running(new, **settings) as server:  # the highest alone: it waits
        assert error(server.client.get(f"/v1/sessions/{session}"), 404)["code"] == "session_not_loaded"
        assert server.generate(prompt="a", max_tokens=1)["model"] == "fake/2"
    with running(old, new, **settings) as server:
        assert look(server, session)["model"] == first["model"] == "fake/1"
        asked = {"prompt": "b", "max_tokens": 3, "seed": 2}
        assert server.generate(**asked, session=session)["model"] == "fake/1"
        assert error(server.client.post("/v1/generate", json={**asked, "session": session, "model": "fake"}), 422)
        for fields in ({}, {"model": "fake"}, {"model": "fake/2"}):
            assert server.generate(**asked, **fields)["model"] == "fake/2"
            assert server.post("/v1/sessions", **fields)["model"] == "fake/2"
        assert server.generate(**asked, model="fake/1")["model"] == "fake/1"
        (listed,) = server.client.get("/v1/models").json()["data"]
        assert listed["version"] == 2


def test_forks_go_on_each_for_itself(server: Running) -> None:
    session = created(server)
    server.generate(prompt="to be", max_tokens=20, seed=1, session=session)
    fork = server.post(f"/v1/sessions/{session}/fork")
    assert fork == {**look(server, session), "id": fork["id"], "expires": fork["expires"]}
    asked = {"prompt": "x", "max_tokens": 30, "seed": 2}
    first = server.generate(**asked, session=fork["id"])
    server.generate(prompt="other words", max_tokens=30, session=fork["id"])
    assert look(server, session)["tokens"] == fork["tokens"]
    assert without_id(server.generate(**asked, session=session)) == without_id(first)


def test_after_a_rewind_the_session_is_as_it_was(server: Running) -> None:
    session, twin = created(server), created(server)
    points = []
    for seed, turn in enumerate(TURNS):
        server.generate(**turn, seed=seed, session=session)
        points.append(point(server, session))
    assert len(points[-1].tokens) > 100
    for past in (points[-1], points[3], points[2], points[0]):
        answer = server.post(f"/v1/sessions/{session}/rewind", to=len(past.tokens))
        assert answer["tokens"] == len(past.tokens)
        now = point(server, session)
        assert now.tokens.tobytes() == past.tokens.tobytes()
        assert now.row.tobytes() == past.row.tobytes()
    server.generate(**TURNS[0], seed=0, session=twin)
    asked = {"prompt": "and", "max_tokens": 40, "seed": 9}
    assert without_id(server.generate(**asked, session=session)) == without_id(server.generate(**asked, session=twin))
    refused = error(server.client.post(f"/v1/sessions/{session}/rewind", json={"to": 10_000}), 422)
    assert refused["param"] == "to"
    assert "10000" in refused["message"]
    for to in (1, 0):
        assert server.post(f"/v1/sessions/{session}/rewind", to=to)["tokens"] == to
        assert not point(server, session).row.any()
    asked = {**TURNS[0], "seed": 0}
    assert without_id(server.generate(**asked, session=session)) == without_id(server.generate(**asked))


def test_a_rewind_reads_from_the_nearest_state_that_is_known(own: Running) -> None:
    """The ends of the latest calls are known, and what the engine keeps of prompts."""
    session, ends, states = created(own), [], []
    for _ in range(12):
        own.generate(prompt="abcd" * 40, max_tokens=10, min_tokens=10, session=session)
        ends.append(len(point(own, session).tokens))
        states.append(point(own, session).row)
    for to, num_read in (
        (ends[-1], 0),
        (ends[-1] - 1, ends[-1] - 2 - (ends[-2] - 1)),
        (ends[-2], 0),
        (ends[3] + 5, 5),
        (ends[3], 0),
        (ends[2], ends[2] - 1 - 128),  # more than eight calls ago; of the first prompt 128 tokens are cached
        (140, 11),
    ):
        num_calls = len(own.sequences.calls)
        assert own.post(f"/v1/sessions/{session}/rewind", to=to)["tokens"] == to
        assert sum(sum(lengths) for lengths in own.sequences.calls[num_calls:]) == num_read, to
        if to in ends:
            assert point(own, session).row.tobytes() == states[ends.index(to)].tobytes()


def test_while_one_request_uses_a_session_others_are_told(own: Running) -> None:
    session = created(own)
    own.generate(prompt="to be", max_tokens=5, session=session)
    state = own.client.get(f"/v1/sessions/{session}/state").content
    own.steps.gate = threading.Event()
    before = look(own, session)
    path = f"/v1/sessions/{session}"
    with ThreadPoolExecutor() as pool:
        asked = {"prompt": "a", "max_tokens": 5, "min_tokens": 5, "session": session}
        running_call = pool.submit(own.client.post, "/v1/generate", json=asked)
        wait_until(lambda: own.service.sessions.find(session).is_busy)
        for answer in (
            own.client.post("/v1/generate", json=asked),
            own.client.post("/v1/generate", json={**asked, "stream": True}),
            own.client.post(f"{path}/fork"),
            own.client.post(f"{path}/rewind", json={"to": 0}),
            own.client.get(f"{path}/state"),
            own.client.put(f"{path}/state", content=state),
            own.client.delete(path),
        ):
            assert error(answer, 409)["code"] == "session_busy"
        assert look(own, session)["tokens"] == before["tokens"]
        own.steps.gate.set()
        assert running_call.result().status_code == 200
    assert look(own, session)["tokens"] == before["tokens"] + 6


def breaking(own: Running, **attributes: Any) -> None:
    for name, value in attributes.items():
        setattr(own.steps, name, value)


def test_a_call_that_fails_leaves_the_session_as_it_was(own: Running) -> None:
    session = created(own)
    own.generate(prompt="to be", max_tokens=20, session=session)
    before = point(own, session)
    asked = {"prompt": "x", "max_tokens": 40, "min_tokens": 40, "seed": 1, "session": session}

    def fails(status: int, fields: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        for is_streamed in (False, True):
            sent = {**asked, **fields, "stream": is_streamed}
            error(own.client.post("/v1/generate", json=sent, headers=headers), status)
            assert point(own, session) is before
            assert not own.service.sessions.find(session).is_busy

    fails(422, {"prompt": "😀"})
    fails(422, {"logit_bias": {"9999": 1}})
    fails(422, {"prompt": "a" * 40_000})
    fails(422, {}, {"x-request-timeout-ms": "never"})
    breaking(own, fails_at=own_token(own, "x"))
    fails(500, {})
    breaking(own, fails_at=None, is_broken_at=own_token(own, "x"))
    fails(500, {})
    breaking(own, is_broken_at=None, gate=threading.Event())
    fails(504, {}, {"x-request-timeout-ms": "50"})
    assert own.steps.gate is not None
    own.steps.gate.set()
    own.until(lambda: own.service.num_requests == 0)
    assert len(text_of(own.generate(**asked))) == 40
    assert point(own, session) is not before


def own_token(own: Running, text: str) -> int:
    (model,) = own.models.values()
    (token,) = model.tokenizer.encode(text)
    return token


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_call_whose_client_leaves_leaves_the_session_as_it_was(own: Running, is_streamed: bool) -> None:
    session = created(own)
    own.generate(prompt="to be", max_tokens=20, session=session)
    before = point(own, session)
    asked = {"prompt": "x", "max_tokens": 4096, "min_tokens": 4096, "session": session, "stream": is_streamed}
    if is_streamed:
        with own.client.stream("POST", "/v1/generate", json=asked) as stream:
            next(stream.iter_lines())
    else:
        own.steps.gate = threading.Event()
        own.ask_and_leave("/v1/generate", asked)
        own.steps.gate.set()
    own.until(lambda: not own.service.sessions.find(session).is_busy)
    assert point(own, session) is before
    assert own.generate(prompt="x", max_tokens=2, session=session)["choices"]


def test_a_call_that_could_make_the_session_too_long_is_refused_with_both_numbers() -> None:
    with running(max_session_tokens=20, **KEY) as server:
        session = created(server)
        server.generate(prompt="12345a", max_tokens=4, min_tokens=4, session=session)
        asked = {"prompt": "abc", "max_tokens": 8, "session": session}
        refused = error(server.client.post("/v1/generate", json=asked), 422)
        assert refused["code"] == "session_too_long"
        assert "21 tokens; at most 20" in refused["message"]
        server.generate(**{**asked, "max_tokens": 7, "min_tokens": 7})
        assert look(server, session)["tokens"] == 20
    with running(session_bytes=1 << 16) as server:
        asked = {"prompt": "a" * 15_000, "max_tokens": 4000, "session": created(server)}
        refused = error(server.client.post("/v1/generate", json=asked), 422)
        assert f"at most {1 << 16} are allowed (RNNSERVE_SESSION_BYTES)" in refused["message"]


def test_a_state_goes_on_elsewhere_as_if_it_had_stayed(server: Running) -> None:
    session = created(server)
    for seed, turn in enumerate(TURNS[:3]):
        server.generate(**turn, seed=seed, session=session)
    answer = server.client.get(f"/v1/sessions/{session}/state")
    assert answer.headers["content-type"] == "application/octet-stream"
    with running(**KEY) as other:
        for _ in range(2):  # new, and replaced
            moved = other.client.put(f"/v1/sessions/{session}/state", content=answer.content).json()
            assert (moved["id"], moved["tokens"]) == (session, look(server, session)["tokens"])
        for seed, turn in enumerate(TURNS[3:]):
            asked = {**turn, "seed": seed, "session": session}
            assert without_id(server.generate(**asked)) == without_id(other.generate(**asked))
            here, there = point(server, session), point(other, session)
            assert here.tokens.tobytes() == there.tokens.tobytes()
            assert here.row.tobytes() == there.row.tobytes()


def test_a_state_goes_to_no_other_id_and_not_to_one_that_was_deleted(server: Running) -> None:
    """So nobody's session is replaced by a stranger's, and none comes back; a fork's state is the fork's."""
    mine, theirs = created(server), created(server)
    server.generate(prompt="to be", max_tokens=5, session=mine)
    server.generate(prompt="not to be", max_tokens=5, session=theirs)
    fork = server.post(f"/v1/sessions/{mine}/fork")["id"]
    state = server.client.get(f"/v1/sessions/{mine}/state").content
    before = point(server, theirs)
    for name in (theirs, fork, "mine"):
        refused = error(server.client.put(f"/v1/sessions/{name}/state", content=state), 409)
        assert refused["code"] == "session_other_id"
        assert mine not in refused["message"]
    assert point(server, theirs) is before
    server.client.delete(f"/v1/sessions/{mine}")
    assert error(server.client.put(f"/v1/sessions/{mine}/state", content=state), 410)["code"] == "session_deleted"
    assert error(server.client.get(f"/v1/sessions/{mine}"), 410)


def test_one_clients_empty_sessions_do_not_evict_those_of_another() -> None:
    with running(max_sessions=10) as server:
        theirs = [created(server) for _ in range(3)]
        elsewhere = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(base_url=server.url, transport=elsewhere, timeout=30) as client:
            made = [client.post("/v1/sessions").json()["id"] for _ in range(30)]
            assert [look(server, session)["id"] for session in theirs] == theirs
            assert client.get(f"/v1/sessions/{made[0]}").json()["error"]["code"] == "session_evicted"


def test_a_state_that_cannot_be_continued_is_refused_with_the_reason(server: Running) -> None:
    session = created(server)
    server.generate(prompt="to be", max_tokens=5, session=session)
    state = server.client.get(f"/v1/sessions/{session}/state").content

    def put(where: Running, content: bytes) -> httpx.Response:
        return where.client.put(f"/v1/sessions/{session}/state", content=content)

    refused = error(put(server, state[:50] + bytes([state[50] ^ 1]) + state[51:]), 422)
    assert (refused["type"], refused["code"]) == ("session_state_error", "session_signature_wrong")
    assert error(put(server, b""), 422)["code"] == "session_signature_wrong"
    with running(session_key="another key of 16") as other:
        assert error(put(other, state), 422)["code"] == "session_signature_wrong"
    with running(fake_model(version=2), **KEY) as other:
        assert error(put(other, state), 409)["code"] == "session_other_bundle"
    with running() as keyless:
        mine = created(keyless)
        for answer in (put(keyless, state), keyless.client.get(f"/v1/sessions/{mine}/state")):
            refused = error(answer, 409)
            assert refused["code"] == "session_key_missing"
            assert "RNNSERVE_SESSION_KEY" in refused["message"]
    for name in ("a.b", "x" * 65, "生"):
        assert error(server.client.put(f"/v1/sessions/{name}/state", content=state), 422)["param"] == "session"
    assert error(server.client.put("/v1/sessions/s/state", content=b"a" * 2_000_000), 413)
    assert error(server.client.get("/v1/sessions/s"), 404)


def test_an_expired_session_is_not_found_in_that_word() -> None:
    with running() as server:
        session = created(server, ttl_seconds=1)
        wait_until(lambda: server.client.get(f"/v1/sessions/{session}").status_code == 404)
        refused = error(server.client.post("/v1/generate", json={"prompt": "a", "session": session}), 404)
        assert refused["code"] == "session_expired"
        assert "expired" in refused["message"]
        metrics = server.client.get("/metrics").text
        assert 'rnnserve_session_evictions_total{reason="expired"} 1.0' in metrics


def test_beyond_the_budget_the_one_unused_longest_goes_and_never_one_in_use() -> None:
    with running(max_sessions=2) as server:
        first, second = created(server), created(server)
        server.steps.gate = threading.Event()
        with ThreadPoolExecutor() as pool:
            asked = {"prompt": "a", "max_tokens": 2, "min_tokens": 2, "session": first}
            call = pool.submit(server.client.post, "/v1/generate", json=asked)
            wait_until(lambda: server.service.sessions.find(first).is_busy)
            third = created(server)
            refused = error(server.client.get(f"/v1/sessions/{second}"), 404)
            assert refused["code"] == "session_evicted"
            assert "RNNSERVE_MAX_SESSIONS" in refused["message"]
            asked["session"] = third
            other = pool.submit(server.client.post, "/v1/generate", json=asked)
            wait_until(lambda: server.service.sessions.find(third).is_busy)
            answer = server.client.post("/v1/sessions")
            assert error(answer, 429)["code"] == "sessions_full"
            assert answer.headers["retry-after"] == "1"
            server.steps.gate.set()
            assert [call.result().status_code, other.result().status_code] == [200, 200]
        metrics = server.client.get("/metrics").text
        assert 'rnnserve_session_evictions_total{reason="number"} 1.0' in metrics
        assert "rnnserve_sessions 2.0" in metrics
        assert f"rnnserve_session_bytes {float(server.service.sessions.num_bytes)}" in metrics


def test_sessions_are_written_at_the_end_and_read_at_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    settings: dict[str, Any] = {"session_dir": folder, **KEY}
    with running(**settings) as server:
        session, short = created(server, ttl_seconds=5000), created(server, ttl_seconds=1)
        server.generate(prompt="to be", max_tokens=20, seed=1, session=session)
        empty = created(server)
        before, seen = point(server, session), look(server, session)
    files = sorted(folder.iterdir())
    assert [path.name for path in files] in (
        sorted(f"{name}.session" for name in names) for names in ([session, empty, short], [session, empty])
    )
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    torn = folder / "torn.session"
    torn.write_bytes(files[0].read_bytes()[:100])
    for ahead in (-1, 600):  # of the time when it would have expired
        (folder / f"other{ahead}.session").write_bytes(b"")
        os.utime(folder / f"other{ahead}.session", (time.time() + ahead,) * 2)
    time.sleep(1.1)
    with running(fake_model("another"), **settings) as server:
        assert server.client.get("/v1/sessions", headers=ADMIN_HEADER).json()["data"] == []
        refused = error(server.client.get(f"/v1/sessions/{session}"), 404)
        assert refused["code"] == "session_not_loaded"
    kept = {f"{session}.session", f"{empty}.session", "other600.session"}
    assert {path.name for path in folder.iterdir()} == kept
    with running(**settings) as server:
        assert look(server, session) == seen
        after = point(server, session)
        assert after.tokens.tobytes() == before.tokens.tobytes()
        assert after.row.tobytes() == before.row.tobytes()
        assert look(server, empty)["tokens"] == 0
        assert server.client.get(f"/v1/sessions/{short}").status_code == 404
        assert sorted(path.name for path in folder.iterdir()) == ["other600.session"]
        state = server.client.get(f"/v1/sessions/{empty}/state").content
        server.client.delete(f"/v1/sessions/{empty}")
    assert {path.name for path in folder.iterdir()} == {"deleted.ids", "other600.session", f"{session}.session"}
    with running(**settings) as server:
        assert error(server.client.put(f"/v1/sessions/{empty}/state", content=state), 410)
        assert server.client.delete("/v1/sessions/other600").status_code == 200
        assert sorted(path.name for path in folder.iterdir()) == ["deleted.ids"]


def test_a_folder_that_cannot_be_used_stops_the_server(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with running(session_dir=tmp_path / "file", **KEY) as server:
        assert server.service.phase == "failed"
        assert "RNNSERVE_SESSION_DIR" in str(server.service.failure)


def test_the_page_and_the_description_name_the_paths(server: Running) -> None:
    description = server.client.get("/openapi.json").json()
    assert set(description["paths"]["/v1/sessions/{session_id}/state"]) == {"get", "put"}
    assert "PUT /v1/sessions/{session_id}/state" in server.client.get("/docs").text
    assert "ttl_seconds" in json.dumps(description)


def test_a_session_is_not_forked_for_a_body_that_ends_after_the_server_began_to_drain() -> None:
    with running() as server:
        made = server.post("/v1/sessions")["id"]
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            head = f"POST /v1/sessions/{made}/fork HTTP/1.0\r\ncontent-length: 2\r\n\r\n"
            connection.sendall(head.encode() + b"{")
            server.post("/v1/generate", prompt="a", max_tokens=1)  # by then the head has been read
            server.service.phase = "draining"
            connection.sendall(b"}")
            answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"code":"draining"' in answer
        assert len(server.service.sessions.all()) == 1
