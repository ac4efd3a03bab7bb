"""What an overloaded server is sent: mostly generation as in workload W1, and all that goes wrong beside it.

W1: prompts of 8 to 256 characters, log-uniform, and answers of 10 to 200 tokens. Some clients leave at a random moment,
some give a deadline, some send what is no request, and some stop in the middle of one.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import orjson

Kind = Literal["plain", "deadline", "leaves", "malformed", "half"]
PATH = "/v1/generate"
SHARES: dict[Kind, float] = {"plain": 0.86, "deadline": 0.05, "leaves": 0.03, "malformed": 0.05, "half": 0.01}
STREAMED = 0.25  # of the requests that are whole
LONGEST_STAY = 2.0  # seconds until one that leaves has left
DEADLINE_MS = (20, 2000)
OVERSIZE = (1 << 20) + 1  # bytes: one more than the server takes
NO_ANSWER = 0  # as a status


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    Attributes:
        kind: what is special about it.
        name: more exactly.
        body: what is sent after the head; of half a request everything that is sent.
        allowed: statuses that it may be answered with.
        path: of the endpoint.
        headers: more headers.
        is_streamed: whether it asks for a stream.
        stay: seconds until the client closes the connection, whatever has come by then; None: it waits for the answer.
        is_reset: whether it then closes with a reset, as a client does that crashes.
    """

    kind: Kind
    name: str
    body: bytes
    allowed: frozenset[int]
    path: str = PATH
    headers: Mapping[str, str] = field(default_factory=dict)
    is_streamed: bool = False
    stay: float | None = None
    is_reset: bool = False


def w1(draw: random.Random, characters: Sequence[str], *, is_streamed: bool) -> bytes:
    """The body of one request of W1.

    Args:
        draw: gives its lengths and its text.
        characters: those that the model knows.
        is_streamed: whether it asks for a stream.
    """
    length = round(math.exp(draw.uniform(math.log(8), math.log(256))))
    fields = {"prompt": "".join(draw.choices(characters, k=length)), "max_tokens": draw.randint(10, 200)}
    return orjson.dumps({**fields, "stream": True} if is_streamed else fields)


def asks(characters: Sequence[str], seed: int) -> Iterator[Ask]:
    """Requests without end, the same ones for a seed.

    Args:
        characters: those that the model knows.
        seed: of everything that is drawn.
    """
    draw = random.Random(seed)
    kinds, weights = list(SHARES), list(SHARES.values())
    while True:
        (kind,) = draw.choices(kinds, weights)
        if kind == "malformed":
            yield draw.choice(MALFORMED)
            continue
        stay = draw.uniform(0, LONGEST_STAY)
        if kind == "half":
            name, content = draw.choice(HALVES)
            yield Ask(kind, name, content, frozenset({NO_ANSWER, 400}), stay=stay, is_reset=draw.random() < 0.5)
            continue
        is_streamed = draw.random() < STREAMED
        body = w1(draw, characters, is_streamed=is_streamed)
        if kind == "deadline":
            headers = {"x-request-timeout-ms": str(draw.randint(*DEADLINE_MS))}
            yield Ask(kind, kind, body, frozenset({200, 429, 504}), headers=headers, is_streamed=is_streamed)
        elif kind == "leaves":
            allowed = frozenset({NO_ANSWER, 200, 429})
            yield Ask(kind, kind, body, allowed, is_streamed=is_streamed, stay=stay, is_reset=draw.random() < 0.5)
        else:
            yield Ask(kind, kind, body, frozenset({200, 429}), is_streamed=is_streamed)


def _malformed(name: str, body: bytes, status: int, path: str = PATH, headers: Mapping[str, str] | None = None) -> Ask:
    return Ask("malformed", name, body, frozenset({status, 429}), path, headers or {})  # the permit comes first


MALFORMED = (
    _malformed("JSON that ends too early", b'{"prompt": "a"', 400),
    _malformed("no JSON", b"prompt=a", 400),
    _malformed("nothing", b"", 400),
    _malformed("not UTF-8", b'{"prompt": "\xff\xfe"}', 400),
    _malformed("NaN", b'{"prompt": "a", "temperature": NaN}', 400),
    _malformed("half a surrogate", b'{"prompt": "\\ud800"}', 400),
    _malformed("too deep", b"[" * 100_000, 400),
    _malformed("no object", b"[1, 2]", 422),
    _malformed("no prompt", b"{}", 422),
    _malformed("a number for a text", b'{"prompt": 5}', 422),
    _malformed("a text for a number", b'{"prompt": "a", "max_tokens": "many"}', 422),
    _malformed("out of range", b'{"prompt": "a", "max_tokens": 0}', 422),
    _malformed("an unknown field", b'{"prompt": "a", "max_token": 5}', 422),
    _malformed("no deadline", b'{"prompt": "a"}', 422, headers={"x-request-timeout-ms": "soon"}),
    _malformed("an unknown model", b'{"prompt": "a", "model": "nobody"}', 404),
    _malformed("an unknown path", b'{"prompt": "a"}', 404, path="/v1/generat"),
    _malformed("a path that is only read", b'{"prompt": "a"}', 405, path="/v1/models"),
    _malformed("oversize", b"x" * OVERSIZE, 413),
)

_HEAD = b"POST /v1/generate HTTP/1.1\r\nhost: localhost\r\n"
HALVES = (
    ("a head that ends too early", _HEAD + b"content-le"),
    ("a body that ends too early", _HEAD + b'content-length: 100\r\n\r\n{"prompt": "a'),
    ("a chunked body that ends too early", _HEAD + b"transfer-encoding: chunked\r\n\r\n10\r\n{"),
    ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64)),
    ("nothing at all", b""),
)
