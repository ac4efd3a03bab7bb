"""The answer does not depend on the neighbours, over HTTP: alone and all at once, every cell kind, fp32 and int8."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.bundle import Bundle
from models.config import CELL_KINDS, CellKind
from tests.end_to_end.real_server import real_server
from tests.tiny_models import ALPHABET

NUM_REQUESTS = 300
LIMIT = {"RNNSERVE_MAX_REQUESTS": str(NUM_REQUESTS)}


def mixed_requests(seed: int) -> list[dict[str, Any]]:
    """Options of every sort; prompts from one token to several chunks."""
    draw = random.Random(seed)
    requests = []
    for number in range(NUM_REQUESTS):
        length = draw.choice([1, 2, 31, 32, 33, 64, 65, draw.randint(1, 200)])
        prompts = ["".join(draw.choices(ALPHABET, k=length)) for _ in range(draw.choice([1, 1, 1, 3]))]
        request: dict[str, Any] = {
            "model": CELL_KINDS[number % len(CELL_KINDS)],
            "prompt": prompts if len(prompts) > 1 else prompts[0],
            "max_tokens": draw.randint(1, 40),
            "temperature": draw.choice([0, 0.3, 1.0, 1.7]),
            "top_k": draw.choice([0, 0, 1, 5]),
            "top_p": draw.choice([1.0, 1.0, 0.5, 0.9]),
            "min_p": draw.choice([0.0, 0.0, 0.1]),
            "seed": draw.randint(0, 2**63 - 1),
            "n": draw.choice([1, 1, 1, 2, 4]),
        }
        if draw.random() < 0.3:
            request["stop"] = draw.choice(["e", ["ab", "\n"], ". "])
        if draw.random() < 0.2:
            request["repetition_penalty"] = draw.choice([0.8, 1.3])
            request["frequency_penalty"] = draw.choice([0, 0.5])
        if draw.random() < 0.2:
            request["logprobs"] = draw.randint(0, 5)
        if draw.random() < 0.2:
            request["min_tokens"] = draw.randint(0, request["max_tokens"])
        requests.append(request)
    return requests


def essence(answer: dict[str, Any]) -> tuple[Any, ...]:
    """What must not change: everything but the request's id, and which tokens the cache knew."""
    usage = {name: count for name, count in answer["usage"].items() if name != "cached_tokens"}
    return answer["model"], answer["seed"], answer["choices"], usage


async def all_at_once(url: str, requests: list[dict[str, Any]]) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=len(requests))
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as client:
        return list(await asyncio.gather(*(client.post("/v1/generate", json=request) for request in requests)))


@pytest.mark.parametrize("set_name", ["fp32", "int8"])
def test_300_mixed_requests_give_the_same_bytes_alone_and_all_at_once(
    built_bundle: Callable[[CellKind], Bundle], set_name: str, tmp_path: Path
) -> None:
    bundles = [built_bundle(kind) for kind in CELL_KINDS]
    store = bundles[0].path.parent.parent
    requests = mixed_requests(seed=11)
    names = ",".join(CELL_KINDS)
    with real_server(store, "--set", set_name, "--models", names, log=tmp_path / "log", environment=LIMIT) as server:
        alone = [server.client.post("/v1/generate", json=request) for request in requests]
        together = asyncio.run(all_at_once(server.url, requests))
    for request, first, second in zip(requests, alone, together, strict=True):
        assert first.status_code == second.status_code == 200, (request, first.text, second.text)
        assert essence(first.json()) == essence(second.json()), request
