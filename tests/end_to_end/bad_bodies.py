"""Good requests of every endpoint, and their bodies changed at random: odd values, other shapes, broken bytes."""

import copy
import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

HEADER_LENGTH = "inference-header-content-length"
FRAMES = np.random.default_rng(0).standard_normal((12, 8)).astype(np.float32)
DEEP = "<900 lists>"  # stands for lists in lists, which json does not write

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Case:
    """A good request.

    Attributes:
        path: of the endpoint; SESSION in it stands for a session's id.
        body: JSON; what a session or a sequence is called in it stands for one that is there.
        tail: bytes that follow the JSON.
        session: the model whose session it uses.
        before: path and body of what that session, or sequence, has read before.
        is_repeatable: whether a second answer has the same bytes.
    """

    path: str
    body: dict[str, Any]
    tail: bytes = b""
    session: str = ""
    before: tuple[str, dict[str, Any]] | None = None
    is_repeatable: bool = True


def tensor(name: str, datatype: str, values: Any) -> dict[str, Any]:
    array = np.asarray(values)
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.ravel().tolist()}


def _frames(start: int, stop: int, **parameters: Any) -> dict[str, Any]:
    return {"parameters": parameters, "inputs": [tensor("frames", "FP32", FRAMES[None, start:stop])]}


def _raw(**parameters: Any) -> dict[str, Any]:
    size = {"binary_data_size": FRAMES.nbytes}
    given = {"name": "frames", "datatype": "FP32", "shape": [1, 12, 8], "parameters": size}
    outputs = [{"name": "output", "parameters": {"binary_data": True}}]
    return {"parameters": parameters, "inputs": [given], "outputs": outputs}


_HOURS = [f"2024-01-01T{hour:02}:00" for hour in range(5)]
_SERIES = {"values": [5, 7, None, 9.5, 8], "covariates": {"rain": [0, 1, 2, 3, 4], "price": [1.5, 2, 2, 2, 1]}}
_POLICY = [
    tensor("action", "INT64", [[1, 2, 10]]),
    {**tensor("seen", "FP32", np.zeros((1, 3, 3))), "data": [0.5, None, 1, 2, 3, 4, 5, 6, 7]},
    tensor("goal", "FP32", [[0.5, -1]]),
]
_TENSORS = [
    tensor("values", "FP32", [[5, 7, 9]]),
    tensor("time", "INT64", [[1704067200, 1704070800, 1704074400]]),
    tensor("covariates", "FP32", np.ones((1, 3, 2))),
]
VAD, FORECASTER = "/v2/models/vad/infer", "/v2/models/forecaster/infer"

CASES = {
    "generate": Case(
        "/v1/generate",
        {"prompt": ["to be", "or not"], "max_tokens": 9, "seed": 1, "temperature": 0.8, "top_k": 5, "stop": ["z"]},
    ),
    "generate in a session": Case("/v1/generate", {"session": "SESSION", "prompt": "to be", "seed": 1}, session="text"),
    "translate": Case("/v1/translate", {"text": ["to be", "or"], "beam_size": 3, "alternatives": 1, "max_tokens": 9}),
    "sentiment": Case("/v1/sentiment", {"text": ["to be", "or not"], "all_scores": True}),
    "tag": Case("/v1/tag", {"text": ["to be, or not.", "to"], "aggregation": "first"}),
    "tag words": Case("/v1/tag", {"tokens": [["to", "be"], ["or", "not", "."]], "aggregation": "max"}),
    "token classification": Case(
        "/models/tagger",
        {"inputs": ["to be", "or not"], "parameters": {"aggregation_strategy": "simple", "ignore_labels": ["O"]}},
    ),
    "text classification": Case(
        "/models/classifier", {"inputs": ["to be"], "parameters": {"top_k": 2, "function_to_apply": "sigmoid"}}
    ),
    "translation": Case(
        "/models/translator/1",
        {"inputs": ["to be"], "parameters": {"generate_parameters": {"num_beams": 2, "max_new_tokens": 9}}},
    ),
    "text generation": Case(
        "/models/text",
        {
            "inputs": "to be",
            "parameters": {"max_new_tokens": 9, "do_sample": True, "seed": 1, "details": True, "stop": ["z"]},
            "stream": False,
        },
    ),
    "texts as tensors": Case(
        "/v2/models/text/infer",
        {
            "parameters": {"max_tokens": 9, "seed": 1, "temperature": 0.8},
            "inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [2], "data": ["to be", "or"]}],
            "outputs": [{"name": "text_output"}, {"name": "seed"}],
        },
    ),
    "raw texts to classify": Case(
        "/v2/models/classifier/versions/1/infer",
        {
            "inputs": [
                {"name": "text_input", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 15}}
            ],
        },
        tail=b"\x05\0\0\0to be\x02\0\0\0or",
    ),
    "texts to translate": Case(
        "/v2/models/translator/infer",
        {
            "parameters": {"beam_size": 2, "max_tokens": 9},
            "inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [1], "data": ["to be"]}],
        },
    ),
    "texts to tag": Case(
        "/v2/models/tagger/infer",
        {
            "parameters": {"aggregation": "none"},
            "inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [1], "data": ["to be, or not."]}],
        },
    ),
    "a text for a text": Case(
        "/v2/models/text/generate", {"text_input": "to be", "seed": 1, "parameters": {"max_tokens": 9, "stop": "z"}}
    ),
    "an index of models": Case("/v2/repository/index", {"ready": True}),
    "a model that is loaded": Case("/v2/repository/models/text/load", {"parameters": {"unload_dependents": False}}),
    "predictions": Case("/predict", {"inputs": [["to be"], ["or not"]], "raw_scores": True, "truncate": True}),
    "forecast": Case(
        "/v1/forecast",
        {"series": [{**_SERIES, "timestamps": _HOURS}, {**_SERIES, "start": _HOURS[0], "id": "a"}], "horizon": 3},
    ),
    "forecast in a session": Case(
        "/v1/forecast",
        {"session": "SESSION", "series": [{**_SERIES, "frequency": "PT1H"}], "quantiles": [0.1, 0.5]},
        session="forecaster",
        before=("/v1/forecast", {"session": "SESSION", "series": [{**_SERIES, "start": "2023-12-31T19:00"}]}),
    ),
    "frames": Case(VAD, {"id": "a", **_frames(0, 12)}),
    "ragged frames": Case(
        VAD, {"inputs": [tensor("frames", "FP32", FRAMES[None].repeat(2, 0)), tensor("lengths", "INT64", [12, 5])]}
    ),
    "frames of a sequence": Case(
        VAD, _frames(5, 12, sequence_id=7), before=(VAD, _frames(0, 5, sequence_id=7, sequence_start=True))
    ),
    "frames of a session": Case(
        VAD, _frames(5, 12, session="SESSION"), session="vad", before=(VAD, _frames(0, 5, session="SESSION"))
    ),
    "raw frames": Case(VAD, _raw(), tail=FRAMES.tobytes()),
    "ids and floats": Case("/v2/models/policy/infer", {"inputs": _POLICY, "outputs": [{"name": "last"}]}),
    "a forecaster's tensors": Case(FORECASTER, {"inputs": _TENSORS}),
    "tensors in a forecaster's session": Case(
        FORECASTER,
        {"parameters": {"session": "SESSION"}, "inputs": _TENSORS},
        session="forecaster",
    ),
    "a new session": Case("/v1/sessions", {"model": "vad", "ttl_seconds": 60}, is_repeatable=False),
    "a fork": Case("/v1/sessions/SESSION/fork", {}, session="text", is_repeatable=False),
    "a rewind": Case(
        "/v1/sessions/SESSION/rewind", {"to": 2}, session="vad", before=(VAD, _frames(0, 5, session="SESSION"))
    ),
}

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 0.5, -0.0, 16, 257, 5000, 2**31, 2**31 - 1, 2**32, 2**62, 2**63 - 1, 2**63),
    *(
        -(2**63),
        2**64 - 1,
        2**64,
        10**30,
        -(10**400),
        1e308,
        -1e308,
        1e38,
        3.5e38,
        1e30,
        -1e30,
        5e-324,
        1e16,
        1704067200,
    ),
    *(math.nan, math.inf, -math.inf, "", " ", "0", "1e5", "NaN", "null", "a" * 5000, "\0", "\ud800", "é😀\u202e", "-1"),
    *(
        "2024-01-01",
        "9999-12-31T23:00",
        "0001-01-01T00:00:00+23:59",
        "2024-02-30",
        "2024-01-01T00:00:00Z",
        "P1D",
        "PT0S",
    ),
    *("text/1", "vad/999999999999999999999", "../../etc", "INT64", "BYTES", "FP64", "BOOL", "lengths", "state", "time"),
    *(
        [],
        {},
        [[]],
        [[], []],
        [None],
        [[1], [2, 3]],
        ["a", 1],
        [0] * 5000,
        [[0]] * 300,
        [1e308, 1],
        {"a": {"a": []}},
        DEEP,
    ),
    *([0, 2**31, 2**31, 2**31], [2**31] * 16, [1] * 17, [0] * 16, [-1, 5]),
)
NAMES = (
    "model",
    "session",
    "parameters",
    "data",
    "values",
    "stream",
    "timeout",
    "sequence_end",
    "binary_data_size",
    "\0",
    "",
)
BYTES = (
    b"NaN",
    b"Infinity",
    b"-",
    b"1e400",
    b"\xff",
    b"\x00",
    b'"',
    b"{",
    b"]",
    b",",
    b"\\u0000",
    b"\xef\xbb\xbf",
    b" ",
)


def mutated(case: Case, draw: random.Random) -> tuple[bytes, dict[str, str]]:
    """A body made from the case's, and its headers: one to three changes, seldom none that matters."""
    body, tail = copy.deepcopy(case.body), case.tail
    for _ in range(draw.choice((1, 1, 2, 3))):
        _change(body, draw)
    head = json.dumps(body).replace(f'"{DEEP}"', "[" * 900 + "]" * 900).encode()
    if draw.random() < 0.1:
        head = broken(head, draw)
    headers = {}
    if tail:
        if draw.random() < 0.4:
            tail = draw.choice((tail[:-1], tail + b"x", b"", tail * 2, broken(tail, draw), b"\xff" * len(tail)))
        odd = ("-1", "0", "1e3", str(2**64), "9" * 30, "0" * 5000, "0" * 20 + "99999", f"0{len(head)}", "1_0")
        headers[HEADER_LENGTH] = draw.choice(odd) if draw.random() < 0.2 else str(len(head))
    return head + tail, headers


def _change(body: dict[str, Any], draw: random.Random) -> None:
    """Change one place of a body."""
    paths = list(_paths(body))
    if not paths:
        body[draw.choice(NAMES)] = copy.deepcopy(draw.choice(ODD))
        return
    *parents, key = draw.choice(paths)
    inside: Any = body
    for name in parents:
        inside = inside[name]
    change = draw.choice((_replace, _replace, _replace, _alter, _alter, _remove, _again, _name))
    change(inside, key, draw)


def _replace(inside: Any, key: Any, draw: random.Random) -> None:
    inside[key] = copy.deepcopy(draw.choice(ODD))


def _alter(inside: Any, key: Any, draw: random.Random) -> None:
    """Nearly what it was: another type, sign, size or order."""
    value = inside[key]
    changes: list[Callable[[], Any]] = [lambda: [value], lambda: {"a": value}, lambda: json.dumps(value)[:2000]]
    if isinstance(value, int | float):
        changes += [
            lambda: -value,
            lambda: value + 1,
            lambda: str(value),
            lambda: value * 10**300,
            lambda: value % 7 / 3,
        ]
    if isinstance(value, str):
        changes += [lambda: value[:-1], lambda: value * 300, lambda: value.upper(), lambda: list(value)]
    if isinstance(value, list):
        changes += [lambda: value[:-1], lambda: value * 2, lambda: value[::-1], lambda: value[0] if value else None]
        changes += [lambda: [value, value], lambda: [[item] for item in value], lambda: value * 300]
        changes += [lambda: [copy.deepcopy(draw.choice(ODD)) for _ in value]]
    inside[key] = draw.choice(changes)()


def _remove(inside: Any, key: Any, _: random.Random) -> None:
    del inside[key]


def _again(inside: Any, key: Any, draw: random.Random) -> None:
    """The same once more: an entry of a list, or a field under another name."""
    if isinstance(inside, list):
        inside.insert(key, copy.deepcopy(inside[key]))
    else:
        inside[draw.choice(NAMES)] = copy.deepcopy(inside[key])


def _name(inside: Any, key: Any, draw: random.Random) -> None:
    """A further field, or an entry that is odd."""
    if isinstance(inside, list):
        inside.insert(key, copy.deepcopy(draw.choice(ODD)))
    else:
        inside[draw.choice(NAMES)] = copy.deepcopy(draw.choice(ODD))


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every place in a body; of long lists the first and the last."""
    entries: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list):
        entries = [(index, value[index]) for index in sorted({0, len(value) - 1}) if value]
    for key, item in entries:
        yield (*path, key)
        yield from _paths(item, (*path, key))


def broken(content: bytes, draw: random.Random) -> bytes:
    """With bytes in between, left out, turned or cut off."""
    at = draw.randrange(len(content) + 1)
    flipped = bytes([content[at] ^ 1 << draw.randrange(8)]) if at < len(content) else b""
    return draw.choice(
        (
            content[:at],
            content[:at] + draw.choice(BYTES) + content[at:],
            content[:at] + content[at + 1 :],
            content[:at] + flipped + content[at + 1 :],
        )
    )
