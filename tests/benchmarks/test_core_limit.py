from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from benchmarks.core_limit.bare import BoundLoop, bare_window, cheapest, core_seconds
from benchmarks.core_limit.limit import Round, limit_table, medians
from benchmarks.core_limit.load import events_of, load, noop_seconds
from benchmarks.core_limit.noop import PATH, NoopServer
from benchmarks.core_limit.sentiment import BATCHES, bare_seconds
from benchmarks.core_limit.texts import texts_of
from benchmarks.serving.client import connector
from benchmarks.serving.loops import run
from benchmarks.serving.request import Count, Request
from benchmarks.serving.w1 import MODEL
from models.bundle import Bundle
from models.store import Store
from runtime.device import num_cores
from runtime.onnxruntime.build import open_graph_set
from runtime.runner import Array

BUNDLE = Bundle(Store(Path(__file__).parents[2] / "artifacts").resolve(MODEL))


def a_round(served: float) -> Round:
    return Round(m=0.008, h=0.001, c=0.001, served=served, server=0.01, latencies={"answer p50": 5.0})


def test_the_limit_is_what_the_cores_could_answer() -> None:
    assert a_round(1).limit == pytest.approx(num_cores() / 0.01)
    assert a_round(50 * num_cores()).share == pytest.approx(0.5)
    found = medians([a_round(10), a_round(30), a_round(20)])
    assert (found["served"], found["answer p50"]) == (20, 5)
    table = limit_table("title", {"whole": [a_round(1)]}, {"whole": 0.9})
    assert "target" in list(table.columns[0].cells)


def test_a_bare_loop_feeds_the_state_back_and_runs_on_every_core() -> None:
    session = open_graph_set(BUNDLE.graph_set("int8"), graphs=["step"]).session("step")
    inputs: dict[str, Array] = {
        "token": np.ones(3, np.int64),
        "state": np.zeros((3, BUNDLE.record.state_width), np.float32),
    }
    loop = BoundLoop(session, inputs, feeds_back=True)
    for _ in range(3):
        loop()
    state = inputs["state"]
    for _ in range(6):
        (state,) = session.run(["new_state"], {"token": inputs["token"], "state": state})
    after: Any = loop.state
    np.testing.assert_array_equal(after, state)
    assert core_seconds(lambda: BoundLoop(session, inputs, feeds_back=True), 0.02) > 0
    assert cheapest([{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 2.0}, {"a": 3.0, "b": 2.0}]) == "b"


def test_a_bare_window_makes_the_steps_of_the_forced_tokens() -> None:
    session = open_graph_set(BUNDLE.graph_set("int8"), graphs=["step"]).session("step")
    forced = np.arange(8).reshape(4, 2)
    state = np.zeros((2, BUNDLE.record.state_width), np.float32)
    token = np.array([5, 6])
    with bare_window(BUNDLE.graph_set("int8")) as window:
        tokens, new_state = window.run(["tokens", "new_state"], {"token": token, "state": state, "forced": forced})
    np.testing.assert_array_equal(tokens, forced)
    for fed in (token, *forced[:-1]):
        (state,) = session.run(["new_state"], {"token": fed, "state": state})
    np.testing.assert_array_equal(new_state, state)


@pytest.mark.parametrize("num_events", [0, 3])
def test_the_endpoint_that_does_nothing_answers_what_it_is_given(num_events: int) -> None:
    answer = {"id": "sen-0", "results": [{"label": "positive", "score": 0.5}], "usage": {"tokens": 3}}

    async def asked(port: int) -> list[bytes]:
        client = await connector(port)()
        if num_events:
            _, _, events = await client.stream(PATH, b'{"text": "a"}')
            found = [event.data for event in events]
        else:
            found = [(await client.post(PATH, b'{"text": "a"}'))[2]]
        client.close()
        return found

    def request(_: int) -> Request:
        return Request("/v1/x", b'{"text": "a"}', lambda _: Count(1), is_streamed=bool(num_events))

    with NoopServer(answer, num_events) as server:
        assert [orjson.loads(each) for each in run(asked(server.port))] == [answer] * max(1, num_events)
        assert noop_seconds(server, 4, 0.3, request) > 0
        found = load(
            server, 4, 0.3, lambda number: Request(PATH, b"{}", lambda _: Count(1), request(number).is_streamed)
        )
        assert events_of(found.records) == num_events


def test_texts_are_classified_at_every_batch(built_bundle: Callable[..., Bundle]) -> None:
    bundle = built_bundle("lstm", "sentiment")
    texts = [bundle.tokenizer.encode("to be or not " * (1 + i % 5)) for i in range(40)]
    session = open_graph_set(bundle.graph_set("int8"), graphs=["classify"]).session("classify")
    found = bare_seconds(session, texts, 0.01)
    assert len(found) == len(BATCHES)
    assert min(found.values()) > 0


def test_without_the_data_sets_texts_are_made_and_the_report_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RNNSERVE_DATA", raising=False)
    kinds = texts_of(Bundle(Path("artifacts/sentiment-en/1")), 50)
    assert [kind.name for kind in kinds] == ["sentences", "reviews"]
    for kind in kinds:
        assert len(kind.texts) == 50
        assert "RNNSERVE_DATA" in kind.origin
