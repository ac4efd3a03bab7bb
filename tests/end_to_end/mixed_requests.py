"""Requests of all tasks and sorts, conversations among them, and what of their answers must not change.

Asked alone, one after another, or all at once in any order, while others leave in the middle of theirs.
"""

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.tiny_models import ALPHABET

STEM = "".join(random.Random(3).choices(ALPHABET, k=400))
SENTENCE = "the film was not very good and this is a bad dog in a green house , of ideas that sleep to the night ."
WORDS = SENTENCE.split()


@dataclass(frozen=True)
class Models:
    """Which models are asked, by id.

    Attributes:
        broken: characters after which numbers are not finite; prompts hold them now and then.
    """

    generation: Sequence[str]
    translation: Sequence[str]
    sentiment: Sequence[str]
    broken: str = ""

    @property
    def ids(self) -> list[str]:
        """All of them."""
        return [*self.generation, *self.translation, *self.sentiment]


@dataclass(frozen=True)
class Exchange:
    """What one client does: requests one after another; of a conversation all name the session made for it."""

    path: str
    bodies: tuple[dict[str, Any], ...]
    is_conversation: bool = False


def mixed_exchanges(number: int, models: Models, seed: int) -> list[Exchange]:
    """As many as asked for: more than half for text, the others for translations and sentiments."""
    draw = random.Random(seed)
    makers = {_generation: 10, _conversation: 1, _translation: 4, _sentiment: 3 if models.sentiment else 0}
    chosen = draw.choices(list(makers), list(makers.values()), k=number)
    return [make(draw, models) for make in chosen]


def _generation(draw: random.Random, models: Models) -> Exchange:
    prompts = [_prompt(draw, models.broken) for _ in range(draw.choice([1, 1, 1, 3]))]
    return Exchange("/v1/generate", (_generation_body(draw, draw.choice(models.generation), prompts),))


def _prompt(draw: random.Random, broken: str) -> str:
    """From one token to several chunks; beginnings of others, or with an end of its own."""
    length = draw.choice([0, 1, 2, 31, 32, 33, 64, 65, draw.randint(1, 400)])
    prompt = STEM[:length] + "".join(draw.choices(ALPHABET, k=draw.choice([0, 1, 3, 40]))) or "a"
    if not broken:
        return prompt
    prompt = "".join(character for character in prompt if character not in broken) or "a"
    place = draw.choice([len(prompt), len(prompt), draw.randrange(len(prompt))])
    return prompt[:place] + (draw.choice(broken) if draw.random() < 0.5 else "") + prompt[place:]


def _generation_body(draw: random.Random, model: str, prompts: list[str]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "prompt": prompts if len(prompts) > 1 else prompts[0],
        "max_tokens": draw.randint(1, 60),
        "temperature": draw.choice([0, 0.3, 1.0, 1.7]),
        "top_k": draw.choice([0, 0, 1, 5]),
        "top_p": draw.choice([1.0, 1.0, 0.5, 0.9]),
        "min_p": draw.choice([0.0, 0.0, 0.1]),
        "seed": draw.randint(0, 2**63 - 1),
        "n": draw.choice([1, 1, 1, 2, 4]),
        "echo": draw.random() < 0.1,
        "stream": len(prompts) == 1 and draw.random() < 0.3,
    }
    rare: dict[str, Any] = {
        "stop": draw.choice(["e", ["ab", "\n"], ". "]),
        "repetition_penalty": draw.choice([0.8, 1.3]),
        "presence_penalty": draw.choice([-0.5, 1]),
        "frequency_penalty": draw.choice([-0.2, 0.5]),
        "logit_bias": {str(draw.randrange(20)): draw.choice([-100, 2.5]) for _ in range(3)},
        "logprobs": draw.randint(0, 5),
        "min_tokens": draw.randint(0, body["max_tokens"]),
    }
    return body | {name: value for name, value in rare.items() if draw.random() < 0.2}


def _conversation(draw: random.Random, models: Models) -> Exchange:
    model = draw.choice(models.generation)
    bodies = [_generation_body(draw, model, [_prompt(draw, models.broken)]) | {"n": 1} for _ in range(3)]
    return Exchange("/v1/generate", tuple(bodies), is_conversation=True)


def _texts(draw: random.Random, most: int) -> list[str]:
    counts = [draw.choice([1, 3, 7, 8, draw.randint(1, most)]) for _ in range(draw.choice([1, 1, 1, 4]))]
    return [" ".join(draw.choices(WORDS, k=count)) for count in counts]


def _translation(draw: random.Random, models: Models) -> Exchange:
    beam_size, texts = draw.choice([1, 1, 2, 4, 8]), _texts(draw, 25)
    body: dict[str, Any] = {
        "model": draw.choice(models.translation),
        "text": texts,
        "beam_size": beam_size,
        "max_tokens": draw.randint(1, 30),
        "length_penalty": draw.choice([0.0, 1.0, 2.0]),
        "coverage_penalty": draw.choice([0.0, 0.3]),
        "alternatives": draw.randint(0, beam_size - 1),
        "alignment": draw.random() < 0.3,
    }
    if beam_size == 1 and draw.random() < 0.5:
        body |= {"temperature": draw.choice([0.5, 1.5]), "top_k": draw.choice([0, 9]), "seed": draw.randint(0, 2**53)}
    if beam_size == 1 and len(texts) == 1:
        body["stream"] = draw.random() < 0.5
    return Exchange("/v1/translate", (body,))


def _sentiment(draw: random.Random, models: Models) -> Exchange:
    return Exchange(
        "/v1/sentiment", ({"model": draw.choice(models.sentiment), "text": _texts(draw, 120), "all_scores": True},)
    )


async def answers(client: httpx.AsyncClient, exchange: Exchange) -> list[Any]:
    """What must not change of what a client is answered; a conversation's session goes on until it is removed."""
    found = []
    session: dict[str, Any] = {}
    if exchange.is_conversation:
        made = await client.post("/v1/sessions", json={"model": exchange.bodies[0]["model"]})
        session = {"session": made.json()["id"]}
    for body in exchange.bodies:
        found.append(_essence(await client.post(exchange.path, json=body | session)))
    if session:
        path = f"/v1/sessions/{session['session']}"
        found.append((await client.get(path)).json()["tokens"])
        back = await client.post(f"{path}/rewind", json={"to": found[-1] // 2})
        assert back.json()["tokens"] == found[-1] // 2
        found.append(_essence(await client.post(exchange.path, json=exchange.bodies[0] | session)))
        await client.delete(path)
    return found


def is_error(essence: Any) -> bool:
    """Whether it is that of an answer that says that numbers are not finite, the only error that is let through."""
    return isinstance(essence, dict) and "error" in essence


def _essence(answer: httpx.Response) -> Any:
    """All but the request's id, what was known already, times, and where a stream was cut into pieces.

    Of a stream that ends with an error, the error alone: how much text comes before it depends on the windows.
    """
    if "event-stream" not in answer.headers["content-type"]:
        body = _unvarying(answer.json())
        assert answer.status_code == 200 or _is_allowed(body), (answer.request.content, answer.text)
        return body
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    events = [_unvarying(json.loads(line)) for line in lines]
    if "error" in events[-1]:
        assert _is_allowed(events[-1]), (answer.request.content, answer.text)
        return events[-1]
    pieces: dict[int, list[Any]] = {}
    for event in events:
        for number, piece in enumerate(event.pop("choices", []) or event.pop("translations", [])):
            parts = pieces.setdefault(piece.get("index", number), ["", [], {}])
            parts[0] += piece.pop("text")
            logprobs = piece.pop("logprobs", None) or {}
            parts[1] += zip(*logprobs.values(), strict=True)
            parts[2] = piece
    return [events[-1], pieces]


def _is_allowed(body: dict[str, Any]) -> bool:
    error = body["error"]
    error.pop("request_id", None)
    return error["code"] == "engine_failed" and "not finite" in error["message"]


def _unvarying(body: dict[str, Any]) -> dict[str, Any]:
    usage = {name: count for name, count in body.get("usage", {}).items() if name != "cached_tokens"}
    return {name: value for name, value in body.items() if name not in ("id", "timings")} | {"usage": usage}


async def one_by_one(url: str, exchanges: Sequence[Exchange]) -> list[list[Any]]:
    """What each is answered when nobody else asks."""
    async with httpx.AsyncClient(base_url=url, timeout=600) as client:
        return [await answers(client, exchange) for exchange in exchanges]


async def all_at_once(
    url: str, exchanges: Sequence[Exchange], leaving: Sequence[Exchange], seed: int
) -> tuple[list[list[Any]], int]:
    """What each is answered when all ask at once, in random order, and others leave in the middle of theirs.

    Returns:
        The answers in the order of the exchanges, and how many left before they were answered.
    """
    draw = random.Random(seed)
    limits = httpx.Limits(max_connections=None)
    num_left = 0

    async def leave(exchange: Exchange) -> list[Any]:
        """On a connection made before: httpx loses the socket of a client that is cut while it connects."""
        nonlocal num_left
        # verify=False: no certificate is needed, and reading them all takes longer than many a request
        async with httpx.AsyncClient(base_url=url, timeout=600, verify=False) as alone:
            await alone.get("/livez")
            try:
                return await asyncio.wait_for(answers(alone, exchange), draw.choice([0.01, 0.1, 1, 3]))
            except TimeoutError:
                num_left += 1
                return []

    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        clients = [answers(client, exchange) for exchange in exchanges] + [leave(exchange) for exchange in leaving]
        order = draw.sample(range(len(clients)), len(clients))
        tasks = {place: asyncio.create_task(clients[place]) for place in order}
        await asyncio.gather(*tasks.values())
    return [tasks[place].result() for place in range(len(exchanges))], num_left
