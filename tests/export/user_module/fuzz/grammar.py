"""Modules as users write them, drawn at random: what stands before a recurrence, and how all of it is put together."""

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.export.user_module.fuzz.drawn import VOCABULARY, WIDTH, Case, Stage
from tests.export.user_module.fuzz.endings import HEADS, OVER_VALID, POOLS, ROW_HEADS, Draw
from tests.export.user_module.fuzz.recurrence import RECURRENT, drawn_layer


def drawn_case(seed: int) -> Case:
    """The module of a seed."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    source = draw.choice(["ids", "ids", "x", "x", "x", "wave", "steps"])
    has_lengths = source in ("ids", "x") and draw.random() < 0.5
    stages = [_first(draw, source)]
    fits = stages[0].keeps_time
    middle = [draw.choice(_BEFORE)(draw) for _ in range(draw.choice([0, 0, 1, 1, 2]))]
    for _ in range(draw.choice([1, 1, 1, 2])):
        middle.append(draw.choice(RECURRENT)(draw))
        middle += [draw.choice(_BEFORE)(draw) for _ in range(draw.choice([0, 0, 0, 1]))]
    for stage in middle:
        if stage.name.startswith("packed") and not (has_lengths and fits):
            stage = drawn_layer(draw)
        stages.append(stage)
        fits = fits and stage.keeps_time
        has_lengths = has_lengths and (fits or any(each.name.startswith("packed") for each in stages))
    if draw.random() < 0.65:
        pools = [pool for pool in POOLS if fits or pool not in OVER_VALID]
        stages += [draw.choice(pools)(draw), draw.choice(ROW_HEADS)(draw)]
    else:
        stages.append(draw.choice(HEADS)(draw))
    uses_lengths = has_lengths and any("lengths" in stage.name or "packed" in stage.name for stage in stages)
    return Case(seed, source, tuple(stages), uses_lengths)


def _first(draw: random.Random, source: str) -> Stage:
    if source == "ids":
        embedding = nn.Embedding(VOCABULARY, WIDTH, padding_idx=draw.choice([None, 0]))
        layers: dict[str, nn.Module] = {"embedding": embedding}
        kind = draw.choice(["plain", "special", "clamped", "bag", "scaled"])
        if kind == "special":
            special = draw.choice([0, 3, VOCABULARY - 1])
            return Stage(
                f"embedding, id {special} as 1",
                lambda own, given, ids: own["embedding"](ids.masked_fill(ids == special, 1)),
                layers,
            )
        if kind == "clamped":
            return Stage(
                "embedding of ids clamped to 30", lambda own, given, ids: own["embedding"](ids.clamp(max=30)), layers
            )
        if kind == "bag":
            return Stage(
                "embedding without id 0",
                lambda own, given, ids: own["embedding"](ids) * (ids != 0).unsqueeze(2),
                layers,
            )
        scale = WIDTH**0.5 if kind == "scaled" else 1.0
        return Stage("embedding", lambda own, given, ids: own["embedding"](ids) * scale, layers)
    if source == "wave":
        size, hop = draw.choice([(4, 4), (4, 2), (5, 3)])
        if draw.random() < 0.5:
            return Stage(
                f"frames of {size} every {hop}",
                lambda own, given, wave: own["linear"](wave.unfold(1, size, hop)),
                {"linear": nn.Linear(size, WIDTH)},
                keeps_time=False,
            )
        return Stage(
            f"convolution of {size} every {hop}",
            lambda own, given, wave: own["convolution"](wave.unsqueeze(1)).transpose(1, 2),
            {"convolution": nn.Conv1d(1, WIDTH, size, stride=hop)},
            keeps_time=False,
        )
    return Stage("rows", lambda own, given, x: x)


def _linear(draw: random.Random) -> Stage:
    name = draw.choice(["relu", "tanh", "gelu", "leaky_relu", "softplus", "silu", "elu"])
    return Stage(
        f"linear and {name}",
        lambda own, given, x: getattr(functional, name, getattr(torch, name, None))(own["linear"](x)),  # type: ignore[misc]
        {"linear": nn.Linear(WIDTH, WIDTH)},
    )


def _normalised(draw: random.Random) -> Stage:
    kind = draw.choice(["layer", "batch", "length", "mean", "instance"])
    if kind == "layer":
        return Stage("layer norm", lambda own, given, x: own["norm"](x), {"norm": nn.LayerNorm(WIDTH)})
    if kind == "batch":
        norm = nn.BatchNorm1d(WIDTH)
        norm.running_mean.normal_()  # type: ignore[union-attr]
        return Stage("batch norm", lambda own, given, x: own["norm"](x.transpose(1, 2)).transpose(1, 2), {"norm": norm})
    if kind == "length":
        return Stage("length 1", lambda own, given, x: x / (x.norm(dim=2, keepdim=True) + 1e-6))
    if kind == "mean":
        return Stage("without the mean over time", lambda own, given, x: x - x.mean(1, keepdim=True))
    return Stage(
        "standardised over time",
        lambda own, given, x: (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True, correction=0) + 1e-3),
    )


def _convolution(draw: random.Random) -> Stage:
    size, stride = draw.choice([(3, 1), (3, 1), (5, 1), (3, 2)])
    layer = nn.Conv1d(WIDTH, WIDTH, size, stride=stride, padding=size // 2)
    return Stage(
        f"convolution of {size}, stride {stride}",
        lambda own, given, x: own["convolution"](x.transpose(1, 2)).transpose(1, 2),
        {"convolution": layer},
        keeps_time=stride == 1,
    )


def _cut(draw: random.Random) -> Stage:
    size = draw.choice([4, 20, 100])
    cuts: list[tuple[str, Callable[[Tensor], Tensor]]] = [
        (f"x[:, :{size}]", lambda x: x[:, :size]),
        (f"x[:, -{size}:]", lambda x: x[:, -size:]),
        ("x[:, ::2]", lambda x: x[:, ::2]),
        ("x[:, 1:]", lambda x: x[:, 1:]),
        ("x[:, :-1]", lambda x: x[:, :-1]),
        (f"if longer than {size}: x[:, :{size}]", lambda x: x[:, :size] if x.size(1) > size else x),
    ]
    name, cut = draw.choice(cuts)
    return Stage(name, lambda own, given, x: cut(x), keeps_time=False)


def _padded(draw: random.Random) -> Stage:
    before, after = draw.choice([(0, 2), (1, 1), (3, 0)])
    return Stage(
        f"{before} zeros in front, {after} behind",
        lambda own, given, x: functional.pad(x, (0, 0, before, after)),
        keeps_time=False,
    )


def _elementwise(draw: random.Random) -> Stage:
    choices: list[tuple[str, Callable[[Tensor], Tensor]]] = [
        ("clamp", lambda x: x.clamp(-2, 2)),
        ("flip", lambda x: x.flip(1)),
        ("cumsum / position", lambda x: x.cumsum(1) / torch.arange(1, x.size(1) + 1).unsqueeze(1)),
        ("nan_to_num", torch.nan_to_num),
        ("where positive", lambda x: torch.where(x > 0, x, x * 0.1)),
        ("exp of the negative square", lambda x: (-x.square()).exp()),
        ("log1p of the magnitude", lambda x: x.abs().log1p()),
        ("position added", lambda x: x + torch.arange(x.size(1)).unsqueeze(1) / x.size(1)),
        ("softmax over time", lambda x: x.softmax(1)),
        ("dropout", lambda x: functional.dropout(x, 0.5, training=False)),
        ("sorted over time", lambda x: x.sort(dim=1, stable=True)[0]),
        ("NaN where not finite", lambda x: x.masked_fill(~x.isfinite(), float("nan"))),
        ("zeros where NaN", lambda x: x.masked_fill(x.isnan(), 0.0)),
        ("difference to the step before", lambda x: x - functional.pad(x, (0, 0, 1, 0))[:, :-1]),
        ("roll", lambda x: x.roll(1, 1)),
    ]
    name, change = draw.choice(choices)
    return Stage(name, lambda own, given, x: change(x))


def _unknown(draw: random.Random) -> Stage:
    return Stage("largest so far", lambda own, given, x: x.cummax(1)[0], is_refused=True)  # no ONNX operator


def _masked(draw: random.Random) -> Stage:
    return Stage("masked by lengths", lambda own, given, x: x * given.is_valid(x).unsqueeze(2), keeps_time=True)


def _branch(draw: random.Random) -> Stage:
    size = draw.choice([3, 30, 64, 200])
    questions: list[tuple[str, Callable[[Tensor], bool]]] = [
        (f"time > {size}", lambda x: x.size(1) > size),
        (f"batch > {size}", lambda x: x.size(0) > size),
        (f"numel > {size * 40}", lambda x: x.numel() > size * 40),
        (f"time % {size} == 0", lambda x: x.size(1) % size == 0),
    ]
    name, question = draw.choice(questions)
    factor = draw.choice([1.001, 2.0, 0.0])
    return Stage(f"if {name}: x * {factor}", lambda own, given, x: x * factor if question(x) else x, is_refused=True)


def _residual(draw: random.Random) -> Stage:
    return Stage(
        "residual linear", lambda own, given, x: x + own["linear"](x).tanh(), {"linear": nn.Linear(WIDTH, WIDTH)}
    )


_BEFORE: Sequence[Draw] = (
    *(_linear, _normalised, _convolution, _cut, _padded, _elementwise, _elementwise, _elementwise, _masked, _residual),
    *(_branch, _unknown),
)
