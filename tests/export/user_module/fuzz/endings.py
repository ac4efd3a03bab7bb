"""How drawn modules end: pools over time, a head over the row or over every step."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.export.user_module.fuzz.drawn import WIDTH, Given, Stage


def _mean(draw: random.Random) -> Stage:
    return Stage("mean", lambda own, given, x: x.mean(1))


def _maximum(draw: random.Random) -> Stage:
    return draw.choice(
        [
            Stage("amax", lambda own, given, x: x.amax(1)),
            Stage("max and min", lambda own, given, x: x.max(1)[0] + x.min(dim=1).values),
            Stage(
                "max pooling to 1", lambda own, given, x: functional.adaptive_max_pool1d(x.transpose(1, 2), 1)[:, :, 0]
            ),
            Stage("largest of topk", lambda own, given, x: x.topk(1, dim=1)[0][:, 0]),
        ]
    )


def _last(draw: random.Random) -> Stage:
    return draw.choice(
        [
            Stage("the last step", lambda own, given, x: x[:, -1]),
            Stage("the first and the last step", lambda own, given, x: x[:, 0] + x[:, -1]),
            Stage("logsumexp", lambda own, given, x: x.logsumexp(1)),
            Stage("root of the mean square", lambda own, given, x: x.square().mean(1).sqrt()),
        ]
    )


def _valid_mean(draw: random.Random) -> Stage:
    def run(own: nn.ModuleDict, given: Given, x: Tensor) -> Tensor:
        valid = given.is_valid(x).unsqueeze(2).to(x.dtype)
        mean: Tensor = (x * valid).sum(1) / valid.sum(1).clamp(min=1)
        return mean

    return Stage("mean by lengths or ids", run)


def _valid_maximum(draw: random.Random) -> Stage:
    ban = draw.choice([-1e9, float("-inf"), -1e4])
    return Stage(
        f"maximum by lengths or ids, else {ban}",
        lambda own, given, x: x.masked_fill(~given.is_valid(x).unsqueeze(2), ban).amax(1),
    )


def _attention(draw: random.Random) -> Stage:
    ban = draw.choice([-1e9, float("-inf")])

    def run(own: nn.ModuleDict, given: Given, x: Tensor) -> Tensor:
        scores = own["score"](x).squeeze(2).masked_fill(~given.is_valid(x), ban).softmax(1)
        attended: Tensor = (scores.unsqueeze(1) @ x).squeeze(1)
        return attended

    return Stage(f"attention by lengths or ids, else {ban}", run, {"score": nn.Linear(WIDTH, 1)})


def _at_the_end(draw: random.Random) -> Stage:
    def run(own: nn.ModuleDict, given: Given, x: Tensor) -> Tensor:
        ends = given.is_valid(x).sum(1).clamp(min=1) - 1
        return x[torch.arange(x.size(0)), ends]

    return Stage("the step at the end by lengths or ids", run)


def _row_head(draw: random.Random) -> Stage:
    size = draw.choice([1, 2, 5])
    choices: list[tuple[str, Callable[[Tensor], Any]]] = [
        ("linear", lambda y: y),
        ("sigmoid", torch.sigmoid),
        ("log_softmax", lambda y: y.log_softmax(1)),
        ("softmax and argmax", lambda y: {"shares": y.softmax(1), "best": y.argmax(1)}),
        ("squeezed", lambda y: y[:, 0]),
        ("two outputs", lambda y: (y, y * 1e-6)),
        ("exp", lambda y: y.exp()),
    ]
    name, change = draw.choice(choices)
    return Stage(
        f"head of {size}, {name}", lambda own, given, x: change(own["head"](x)), {"head": nn.Linear(WIDTH, size)}
    )


def _double_head(draw: random.Random) -> Stage:
    return Stage(
        "head in float64",
        lambda own, given, x: own["head"](x.double()),
        {"head": nn.Linear(WIDTH, 2).double()},
        is_refused=True,
    )


def _head(draw: random.Random) -> Stage:
    size, ban = draw.choice([3, 9]), draw.choice([-1e9, float("-inf"), -1e4, 0.0])
    bans = torch.zeros(size)
    bans[0] = ban
    choices: list[tuple[str, Callable[[Tensor, Given], Any]]] = [
        ("linear", lambda y, given: y),
        (f"token 0 becomes {ban}", lambda y, given: y.index_fill(2, torch.tensor([0]), ban)),
        (f"token 0 gets {ban} more", lambda y, given: y + bans),
        (f"{ban} past lengths", lambda y, given: y.masked_fill(~given.is_valid(y).unsqueeze(2), ban)),
        ("log_softmax", lambda y, given: y.log_softmax(2)),
        ("argmax", lambda y, given: (y, y.argmax(2))),
        ("the best two", lambda y, given: y.topk(2, dim=2)[0]),
        ("the last", lambda y, given: {"last": y[:, -1], "all": y}),
    ]
    name, change = draw.choice(choices)
    return Stage(
        f"head of {size}, {name}", lambda own, given, x: change(own["head"](x), given), {"head": nn.Linear(WIDTH, size)}
    )


Draw = Callable[[random.Random], Stage]
OVER_VALID: Sequence[Draw] = (_valid_mean, _valid_maximum, _attention, _at_the_end)
POOLS: Sequence[Draw] = (_mean, _maximum, _last, *OVER_VALID)
ROW_HEADS: Sequence[Draw] = (_row_head,) * 12 + (_double_head,)
HEADS: Sequence[Draw] = (_head,)
