from collections import Counter
from collections.abc import Iterator
from itertools import islice

import httpx
import orjson
import pytest

from benchmarks.operation.overload_requests import HALVES, MALFORMED, SHARES, Ask, asks
from benchmarks.serving.client import connector
from benchmarks.serving.loops import run
from tests.server.running import Running, running

CHARACTERS = list("abcdefgh ")


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as instance:
        yield instance


@pytest.mark.parametrize("ask", MALFORMED, ids=lambda ask: ask.name)
def test_each_malformed_request_is_answered_with_the_status_that_the_benchmark_allows(
    server: Running, ask: Ask
) -> None:
    async def status() -> int:
        client = await connector(server.port)()
        found, _, answer = await client.post(ask.path, ask.body, ask.headers)
        client.close()
        assert "error" in orjson.loads(answer)
        return found

    assert {run(status())} == ask.allowed - {429}


def test_requests_are_the_same_for_a_seed_and_of_the_lengths_and_kinds_that_are_said() -> None:
    found = list(islice(asks(CHARACTERS, seed=3), 4000))
    assert found == list(islice(asks(CHARACTERS, seed=3), 4000))
    assert found != list(islice(asks(CHARACTERS, seed=4), 4000))
    kinds = Counter(ask.kind for ask in found)
    for kind, share in SHARES.items():
        assert kinds[kind] == pytest.approx(4000 * share, rel=0.5)
    assert {ask.name for ask in found if ask.kind == "malformed"} == {ask.name for ask in MALFORMED}
    assert {ask.name for ask in found if ask.kind == "half"} == {name for name, _ in HALVES}
    plain = [orjson.loads(ask.body) for ask in found if ask.kind == "plain"]
    assert {min(len(body["prompt"]) for body in plain), max(len(body["prompt"]) for body in plain)} == {8, 256}
    assert {min(body["max_tokens"] for body in plain), max(body["max_tokens"] for body in plain)} == {10, 200}
    assert all(ask.is_streamed == ("stream" in orjson.loads(ask.body)) for ask in found if ask.kind == "plain")


def test_a_deadline_alone_allows_504_and_nobody_is_allowed_500(server: Running) -> None:
    for ask in islice(asks(CHARACTERS, seed=5), 1000):
        assert (504 in ask.allowed) == (ask.kind == "deadline")
        assert not ask.allowed & {500, 502, 503}
        assert ask.kind != "deadline" or httpx.Headers(ask.headers)["x-request-timeout-ms"].isdigit()
