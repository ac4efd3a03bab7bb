"""Workload W1: prompts of 8 to 256 characters, log-uniform; answers of 10 to 200 tokens; default options otherwise.

A request is drawn from the load's seed and its own number, so that a load can be sent again to anything, over HTTP or
not, however fast it is. Characters are drawn from those that the model knows: unknown ones would be counted and
replaced, which is other work.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from benchmarks.serving.request import Count, NextRequest, Request
from benchmarks.serving.server import Server
from models.bundle import Bundle
from models.tokenizer import Tokenizer

STORE, MODEL = Path("artifacts"), "shakespeare-char"
PATH = "/v1/generate"
NUM_CLIENTS = 64
PROMPT, ANSWER = (8, 256), (10, 200)  # tokens


class Ask(NamedTuple):
    """One request, before it is anybody's wire format.

    Attributes:
        prompt: text.
        max_tokens: of the answer, which has exactly as many: the model has no end token.
    """

    prompt: str
    max_tokens: int


@dataclass(frozen=True)
class Workload:
    """Requests by number.

    Attributes:
        characters: what prompts are made of; one token each.
        seed: of all that is drawn.
        prefixes: one of these, drawn too, stands before each prompt.
    """

    characters: tuple[str, ...]
    seed: int
    prefixes: tuple[str, ...] = ()

    def ask(self, number: int) -> Ask:
        """The request of this number."""
        draw = random.Random(f"{self.seed}/{number}")
        length = round(math.exp(draw.uniform(math.log(PROMPT[0]), math.log(PROMPT[1]))))
        prompt = "".join(draw.choices(self.characters, k=length))
        max_tokens = draw.randint(*ANSWER)
        prefix = draw.choice(self.prefixes) if self.prefixes else ""
        return Ask(prefix + prompt, max_tokens)

    def request(self, number: int) -> Request:
        """The same over HTTP, to be answered whole."""
        return _request(self.ask(number), is_streamed=False)

    def streamed_request(self, number: int) -> Request:
        """The same over HTTP, to be streamed."""
        return _request(self.ask(number), is_streamed=True)

    def requests(self, *, is_streamed: bool) -> NextRequest:
        """One of the two."""
        return self.streamed_request if is_streamed else self.request

    def text(self, length: int, number: int) -> str:
        """A prompt of so many characters that no request of this workload has."""
        return "".join(random.Random(f"{self.seed}/text/{number}").choices(self.characters, k=length))


def w1(bundle: Bundle, seed: int) -> Workload:
    """W1 for a model of characters."""
    return Workload(characters_of(bundle.tokenizer), seed)


def shared(bundle: Bundle, seed: int, num_prefixes: int, length: int) -> Workload:
    """W1 behind prefixes that requests share, as instructions stand before what a user writes."""
    workload = w1(bundle, seed)
    prefixes = tuple(workload.text(length, number) for number in range(num_prefixes))
    return Workload(workload.characters, seed, prefixes)


def characters_of(tokenizer: Tokenizer) -> tuple[str, ...]:
    """What a character tokenizer knows, without its token for everything else.

    Raises:
        ValueError: its tokens are not single characters, so text cannot be drawn with so many tokens.
    """
    texts = [token.decode(errors="replace") for token in tokenizer.token_bytes]
    characters = tuple(text for text in texts if text != "�")
    if any(len(text) != 1 for text in characters):
        raise ValueError("W1 is drawn for a model of characters; this one has longer tokens")
    return characters


def check_nothing_was_known(server: Server, model: str) -> None:
    """Make sure that no prompt was found in the cache of prefixes: W1 is about reading them.

    Args:
        server: after its loads; nothing else was sent to it.
        model: the model's id.

    Raises:
        RuntimeError: one was sent twice.
    """
    known = server.metrics()[f'rnnserve_state_cache_hits_total{{model="{model}"}}']
    if known:
        raise RuntimeError(f"{known:.0f} prompt tokens were known already: loads of one server need different seeds")


def streamed(prompt: str, max_tokens: int) -> Request:
    """A request for a stream."""
    return _request(Ask(prompt, max_tokens), is_streamed=True)


def _request(ask: Ask, *, is_streamed: bool) -> Request:
    fields = {"prompt": ask.prompt, "max_tokens": ask.max_tokens}
    count: Callable[[bytes], Count] = _count_event if is_streamed else _count_answer
    return Request(PATH, orjson.dumps({**fields, "stream": True} if is_streamed else fields), count, is_streamed)


def _count_answer(data: bytes) -> Count:
    usage = orjson.loads(data)["usage"]
    return Count(usage["completion_tokens"], usage["prompt_tokens"])


def _count_event(data: bytes) -> Count:
    """Characters of the new text, which are the model's tokens; the last event says how many there were in all."""
    event = orjson.loads(data)
    if "error" in event:
        return Count(0, error=event["error"]["message"])
    usage = event.get("usage", {})
    num_tokens = sum(len(choice["text"]) for choice in event["choices"])
    return Count(num_tokens, usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))
