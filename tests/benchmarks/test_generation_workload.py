from pathlib import Path

import numpy as np
import orjson
import pytest

from benchmarks.serving.client import connector
from benchmarks.serving.loops import all_at_once, run
from benchmarks.serving.server import Server
from benchmarks.serving.w1 import (
    MODEL,
    Workload,
    characters_of,
    check_nothing_was_known,
    shared,
    streamed,
    w1,
)
from models.bundle import Bundle
from models.store import Store
from models.tokenizer import Tokenizer

STORE = Path(__file__).parents[2] / "artifacts"
BUNDLE = Bundle(Store(STORE).resolve(MODEL))


def test_w1_is_what_the_document_says_and_the_model_knows_every_character() -> None:
    workload = w1(BUNDLE, 0)
    asks = [workload.ask(number) for number in range(3000)]
    lengths = np.array([len(ask.prompt) for ask in asks])
    assert 8 <= lengths.min() < 10
    assert 245 < lengths.max() <= 256
    assert np.median(lengths) == pytest.approx(np.sqrt(8 * 256), rel=0.1)  # log-uniform
    answers = np.array([ask.max_tokens for ask in asks])
    assert (answers.min(), answers.max()) == (10, 200)
    assert answers.mean() == pytest.approx(105, rel=0.03)
    tokenizer = BUNDLE.tokenizer
    for ask in asks[:200]:
        ids = tokenizer.encode(ask.prompt)
        assert len(ids) == len(ask.prompt)
        assert 0 not in ids  # of unknown characters


def test_a_request_depends_on_seed_and_number_alone() -> None:
    assert w1(BUNDLE, 3).ask(7) == w1(BUNDLE, 3).ask(7)
    assert w1(BUNDLE, 3).ask(7) != w1(BUNDLE, 4).ask(7)
    assert w1(BUNDLE, 3).ask(7) != w1(BUNDLE, 3).ask(8)
    assert w1(BUNDLE, 0).text(50, 1) != w1(BUNDLE, 0).text(50, 2)


def test_shared_prefixes_are_shared() -> None:
    workload = shared(BUNDLE, 0, 4, 100)
    beginnings = {workload.ask(number).prompt[:100] for number in range(200)}
    assert len(beginnings) == 4


def test_answers_and_events_are_counted() -> None:
    whole, stream = Workload(("a",), 0).request(0), streamed("a", 5)
    assert (whole.is_streamed, stream.is_streamed) == (False, True)
    assert orjson.loads(stream.body) == {"prompt": "a", "max_tokens": 5, "stream": True}
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    answer = orjson.dumps({"choices": [{"text": "xy"}], "usage": usage})
    assert whole.count(answer)[:3] == (2, 3, 0)
    assert stream.count(orjson.dumps({"choices": [{"text": "xyz"}]}))[:3] == (3, 0, 0)
    assert stream.count(answer)[:3] == (2, 3, 2)
    assert stream.count(b'{"error": {"message": "broken"}}').error == "broken"


def test_a_model_without_characters_is_refused() -> None:
    with pytest.raises(ValueError, match="longer tokens"):
        characters_of(Tokenizer.byte_bpe(["to be or not to be " * 20], 270, end_token=True))


def test_a_prompt_sent_twice_is_noticed() -> None:
    async def load(port: int, seeds: tuple[int, ...]) -> None:
        for seed in seeds:
            await all_at_once(connector(port), 3, w1(BUNDLE, seed).request)

    with Server(STORE, [MODEL]) as server:
        run(load(server.port, (0, 1)))
        check_nothing_was_known(server, BUNDLE.id)
        run(load(server.port, (1,)))
        with pytest.raises(RuntimeError, match="need different seeds"):
            check_nothing_was_known(server, BUNDLE.id)
