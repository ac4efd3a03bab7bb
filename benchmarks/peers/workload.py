"""The load of the comparison: prompts of 8 to 256 characters, log-uniform, answers of 10 to 200, uniform."""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson

from benchmarks.serving.request import Count, NextRequest, Request

NUM_CLIENTS = 64
SHORT = 20  # tokens; answers of at most so many are looked at by themselves
_PROMPT = (8, 256)
_ANSWER = (10, 200)


class Dialect(NamedTuple):
    """How a server wants to be asked, and where its answer says how many tokens it has.

    Attributes:
        path: of the POST.
        body: the JSON to send, from {"prompt", "max_tokens"}.
        num_tokens: of the JSON that came.
    """

    path: str
    body: Callable[[dict[str, Any]], Any]
    num_tokens: Callable[[Any], int]


def requests(characters: Sequence[str], seed: int, dialect: Dialect) -> NextRequest:
    """Requests by number: the same for every server with the same seed.

    Args:
        characters: what prompts are made of.
        seed: another for each round, so that no prompt comes twice.
        dialect: the server's.
    """

    def request(number: int) -> Request:
        draw = random.Random(f"{seed}/{number}")
        length = round(math.exp(draw.uniform(*map(math.log, _PROMPT))))
        asked = {"prompt": "".join(draw.choices(characters, k=length)), "max_tokens": draw.randint(*_ANSWER)}

        def count(answer: bytes) -> Count:
            """The model has no end token, so an answer has as many tokens as were asked for."""
            found = dialect.num_tokens(orjson.loads(answer))
            wrong = None if found == asked["max_tokens"] else f"{found} tokens; asked for {asked['max_tokens']}"
            return Count(found, length, error=wrong)

        return Request(dialect.path, orjson.dumps(dialect.body(asked)), count)

    return request
