"""The answer does not depend on the neighbours, over HTTP: translation and sentiment, fp32 and int8."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.bundle import Bundle
from tests.end_to_end.real_server import real_server
from tests.tiny_models import ALPHABET

NUM_REQUESTS = 150
LIMIT = {"RNNSERVE_MAX_REQUESTS": str(NUM_REQUESTS)}
Question = tuple[str, dict[str, Any]]  # path, body


def mixed_questions(seed: int) -> list[Question]:
    """Sources and texts from one token to several times sixteen; beams from 1 to 8."""
    draw = random.Random(seed)
    questions: list[Question] = []
    for number in range(NUM_REQUESTS):
        count = draw.choice([1, 1, 1, 4])
        lengths = [draw.choice([1, 15, 16, 17, draw.randint(1, 120)]) for _ in range(count)]
        texts = ["".join(draw.choices(ALPHABET, k=length)) for length in lengths]
        if number % 3 == 0:
            questions.append(("/v1/sentiment", {"text": texts, "all_scores": True}))
            continue
        beam = draw.choice([1, 1, 2, 4, 8])
        body = {
            "text": texts,
            "beam_size": beam,
            "max_tokens": draw.randint(1, 30),
            "length_penalty": draw.choice([0.0, 1.0, 2.0]),
            "coverage_penalty": draw.choice([0.0, 0.3]),
            "alternatives": draw.randint(0, beam - 1),
            "alignment": draw.random() < 0.3,
        }
        questions.append(("/v1/translate", body))
    return questions


async def all_at_once(url: str, questions: list[Question]) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=len(questions))
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as client:
        return list(await asyncio.gather(*(client.post(path, json=body) for path, body in questions)))


@pytest.mark.parametrize("set_name", ["fp32", "int8"])
def test_150_mixed_requests_give_the_same_bytes_alone_and_all_at_once(
    built_bundle: Callable[..., Bundle], set_name: str, tmp_path: Path
) -> None:
    bundles = [built_bundle("lstm", "translation"), built_bundle("gru", "sentiment", pooling="attention")]
    store = bundles[0].path.parent.parent
    names = ",".join(bundle.id for bundle in bundles)
    questions = mixed_questions(seed=12)
    with real_server(store, "--set", set_name, "--models", names, log=tmp_path / "log", environment=LIMIT) as server:
        alone = [server.client.post(path, json=body) for path, body in questions]
        together = asyncio.run(all_at_once(server.url, questions))
    for question, first, second in zip(questions, alone, together, strict=True):
        assert first.status_code == second.status_code == 200, (question, first.text, second.text)
        assert first.json() | {"id": ""} == second.json() | {"id": ""}, question
