import random
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.comparison.batch_generation import BatchGenerator, Request
from models.bundle import Bundle
from models.tokenizer import Tokenizer
from tests.end_to_end.real_server import real_server
from tests.server.fake_runner import STATE_WIDTH, FakeSequenceRunner, FakeStepRunner
from tests.tiny_models import ALPHABET


def mixed_requests(count: int, temperatures: tuple[float, ...]) -> list[Request]:
    """Prompts around the chunk's length, answers of all lengths."""
    draw = random.Random(5)
    return [
        Request(
            "".join(draw.choices(ALPHABET, k=draw.choice([1, 2, 32, 33, 34, 65, draw.randint(3, 150)]))),
            draw.randint(1, 60),
            draw.choice(temperatures),
            draw.randint(0, 2**63 - 1),
        )
        for _ in range(count)
    ]


def test_a_static_batch_gives_the_texts_that_our_server_gives(
    built_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    bundle = built_bundle("lstm")
    requests = mixed_requests(24, (0.0, 1.0))
    generator = BatchGenerator.open(bundle.path.parent.parent, bundle.record.name, len(requests))
    arguments = ("--models", bundle.record.name, "--set", "int8")  # the set that the generator opens
    with real_server(bundle.path.parent.parent, *arguments, log=tmp_path / "log") as server:
        bodies = [server.client.post("/v1/generate", json=request._asdict()).json() for request in requests]
    expected = [(body["choices"][0]["text"], body["usage"]["completion_tokens"]) for body in bodies]
    assert generator.answers(requests) == expected


def test_rows_that_end_early_leave_the_others_as_they_are_alone() -> None:
    tokenizer = Tokenizer.character([ALPHABET], end_token=True)

    def generator() -> BatchGenerator:
        size = tokenizer.vocab_size
        return BatchGenerator(FakeStepRunner(16, size), FakeSequenceRunner(size), tokenizer, STATE_WIDTH)

    requests = mixed_requests(16, (1.0, 2.0))
    together = generator().answers(requests)
    assert together == [generator().answers([request])[0] for request in requests]
    counts = [answer.completion_tokens for answer in together]
    assert any(count < request.max_tokens for count, request in zip(counts, requests, strict=True)), "none has ended"
    assert any(count == request.max_tokens for count, request in zip(counts, requests, strict=True))


def test_without_a_seed_each_answer_is_another() -> None:
    tokenizer = Tokenizer.character([ALPHABET])
    size = tokenizer.vocab_size
    generator = BatchGenerator(FakeStepRunner(4, size), FakeSequenceRunner(size), tokenizer, STATE_WIDTH)
    assert len(set(generator.answers([Request("to be", 30)] * 4))) == 4


def test_what_cannot_be_answered_is_refused() -> None:
    tokenizer = Tokenizer.character([ALPHABET])
    size = tokenizer.vocab_size
    generator = BatchGenerator(FakeStepRunner(2, size), FakeSequenceRunner(size), tokenizer, STATE_WIDTH)
    assert generator.answers([]) == []
    for requests, words in (
        ([Request("", 5)], "no tokens"),
        ([Request("a", 0)], "at least 1"),
        ([Request("a", 5)] * 3, "at most 2"),
    ):
        with pytest.raises(ValueError, match=words):
            generator.answers(requests)
