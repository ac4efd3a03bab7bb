"""Workload W1 in the words of each server. The requests themselves are benchmarks.serving.w1's."""

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from benchmarks.serving.request import Count, NextRequest, Request
from benchmarks.serving.w1 import Workload

SHORT = 20  # tokens; answers of at most so many are looked at by themselves


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


def requests(workload: Workload, dialect: Dialect) -> NextRequest:
    """Requests by number: the same for every server."""

    def request(number: int) -> Request:
        ask = workload.ask(number)

        def count(answer: bytes) -> Count:
            """The model has no end token, so an answer has as many tokens as were asked for."""
            found = dialect.num_tokens(orjson.loads(answer))
            wrong = None if found == ask.max_tokens else f"{found} tokens; asked for {ask.max_tokens}"
            return Count(found, len(ask.prompt), error=wrong)

        return Request(dialect.path, orjson.dumps(dialect.body(ask._asdict())), count)

    return request
