"""Modules as users write them, drawn at random: an input, stages over [batch, time, width], one over the row, heads.

A stage is a function of the forward's values and of the layers that it holds; what is wrong with a stage by design (a
branch that changes the answer at a size) is marked, because then a refusal is right.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.config import RecurrentConfig
from models.network.recurrent import RecurrentStack

VOCABULARY = 50
WIDTH = 6  # of every stage's input and output


@dataclass
class Given:
    """What a forward has beside the values that go from stage to stage.

    Attributes:
        ids: int64 [batch, time], or None.
        lengths: int64 [batch], or None.
        fits: whether ids still have the time axis of the values.
    """

    ids: Tensor | None
    lengths: Tensor | None
    fits: bool = True

    def is_valid(self, x: Tensor) -> Tensor:
        """bool [batch, time of x]: which positions count."""
        if self.lengths is not None:
            return torch.arange(x.size(1)) < self.lengths.unsqueeze(1)
        if self.ids is not None and self.fits:
            return self.ids != 0
        return torch.ones(x.shape[:2], dtype=torch.bool)


@dataclass
class Stage:
    """One step of a forward.

    Attributes:
        name: for people.
        does: (layers, given, values) -> values.
        layers: that it holds.
        keeps_time: whether the result has the time axis of the input; else lengths and ids fit no longer.
        is_refused: whether a refusal is right.
    """

    name: str
    does: Callable[[nn.ModuleDict, Given, Tensor], Any]
    layers: dict[str, nn.Module] = field(default_factory=dict)
    keeps_time: bool = True
    is_refused: bool = False


class Drawn(nn.Module):
    """A drawn module.

    Args:
        source: of the inputs: "ids", "x", "wave" or "steps" ([time, batch, width]).
        has_lengths: whether lengths are an input.
        stages: in order.
    """

    def __init__(self, source: str, stages: Sequence[Stage], *, has_lengths: bool) -> None:
        super().__init__()
        self.source, self.has_lengths = source, has_lengths
        self._does = [stage.does for stage in stages]
        self._keep_time = [stage.keeps_time for stage in stages]
        self.noise = 0.0  # of each stage's values: relative, and a tenth of it absolute, as a gate's sigmoid has it
        self.stages = nn.ModuleList(nn.ModuleDict(stage.layers) for stage in stages)

    def forward(self, first: Tensor, lengths: Tensor | None = None) -> Any:
        given = Given(first if self.source == "ids" else None, lengths)
        values: Any = first.transpose(0, 1) if self.source == "steps" else first
        for layers, does, keeps_time in zip(self.stages, self._does, self._keep_time, strict=True):
            values = does(layers, given, values)  # type: ignore[arg-type]
            given.fits = given.fits and keeps_time
            if self.noise and isinstance(values, Tensor):
                values = values + self.noise * torch.randn_like(values) * (values.abs() + 0.1)
        return values


@dataclass(frozen=True)
class Case:
    """A drawn module and its inputs.

    Attributes:
        seed: that it was drawn from.
        source: see Drawn.
        stages: of it.
        has_lengths: see Drawn.
    """

    seed: int
    source: str
    stages: tuple[Stage, ...]
    has_lengths: bool

    @property
    def inputs(self) -> list[str]:
        """As `export module` takes them."""
        first = {
            "ids": "ids:int64[batch,time]",
            "x": f"x:float32[batch,time,{WIDTH}]",
            "wave": "wave:float32[batch,time]",
            "steps": f"x:float32[time,batch,{WIDTH}]",
        }[self.source]
        return [first, *(["lengths:int64[batch]"] if self.has_lengths else [])]

    @property
    def least_time(self) -> int:
        """The shortest input from which on the module takes every one."""
        module, refused = self.module(), 0
        for time in range(1, 40):
            shape = {"x": (2, time, WIDTH), "steps": (time, 2, WIDTH)}.get(self.source, (2, time))
            first = torch.ones(shape, dtype=torch.int64 if self.source == "ids" else torch.float32)
            try:
                with torch.no_grad():
                    module(first, *([torch.full((2,), time)] if self.has_lengths else []))
            except (RuntimeError, IndexError):
                refused = time
        return refused + 1

    @property
    def is_refused(self) -> bool:
        """Whether a refusal is right."""
        return any(stage.is_refused for stage in self.stages)

    def module(self) -> Drawn:
        """The module, its weights those of the drawing."""
        return Drawn(self.source, self.stages, has_lengths=self.has_lengths).eval()

    def __str__(self) -> str:
        lengths = ", lengths" if self.has_lengths else ""
        return f"seed {self.seed}: {self.source}{lengths}: {' -> '.join(stage.name for stage in self.stages)}"


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
        middle.append(draw.choice(_RECURRENT)(draw))
        middle += [draw.choice(_BEFORE)(draw) for _ in range(draw.choice([0, 0, 0, 1]))]
    for stage in middle:
        if stage.name.startswith("packed") and not (has_lengths and fits):
            stage = _layer(draw)
        stages.append(stage)
        fits = fits and stage.keeps_time
        has_lengths = has_lengths and (fits or any(each.name.startswith("packed") for each in stages))
    if draw.random() < 0.65:
        pools = [pool for pool in _POOLS if fits or pool not in _OVER_VALID]
        stages += [draw.choice(pools)(draw), draw.choice(_ROW_HEADS)(draw)]
    else:
        stages.append(draw.choice(_HEADS)(draw))
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


def _layer(draw: random.Random, *, is_packed: bool = False) -> Stage:
    kind = draw.choice([nn.LSTM, nn.GRU, nn.RNN])
    options: dict[str, Any] = {"num_layers": draw.choice([1, 1, 2]), "bias": draw.random() < 0.85}
    is_both = draw.random() < 0.4
    if kind is nn.RNN:
        options["nonlinearity"] = draw.choice(["tanh", "relu"])
    layer: nn.RNNBase = kind(
        WIDTH, WIDTH // 2 if is_both else WIDTH, batch_first=True, bidirectional=is_both, **options
    )
    name = f"{kind.__name__}{' both ways' if is_both else ''} of {options['num_layers']}"
    layers: dict[str, nn.Module] = {"layer": layer}
    if draw.random() < 0.3:  # a learnt initial state
        layers["start"] = nn.ParameterDict({"h": torch.randn(layer.num_layers * (1 + is_both), 1, layer.hidden_size)})
        name += " from a learnt state"
    return Stage(f"packed {name}" if is_packed else name, _packed_run if is_packed else _run, layers)


def _start(own: nn.ModuleDict, x: Tensor) -> Any:
    if "start" not in own:
        return None
    state = own["start"]["h"].expand(-1, x.size(0), -1).contiguous()  # type: ignore[index]
    return (state, state * 0.5) if isinstance(own["layer"], nn.LSTM) else state


def _run(own: nn.ModuleDict, given: Given, x: Tensor) -> Tensor:
    outputs: Tensor = own["layer"](x, _start(own, x))[0]
    return outputs


def _packed_run(own: nn.ModuleDict, given: Given, x: Tensor) -> Tensor:
    assert given.lengths is not None
    packed = pack_padded_sequence(x, given.lengths.cpu(), batch_first=True, enforce_sorted=False)
    outputs, _ = own["layer"](packed, _start(own, x))
    padded: Tensor = pad_packed_sequence(outputs, batch_first=True, total_length=x.size(1))[0]
    return padded


def _packed(draw: random.Random) -> Stage:
    return _layer(draw, is_packed=True)


def _last_state(draw: random.Random) -> Stage:
    def run(own: nn.ModuleDict, given: Given, x: Tensor) -> Tensor:
        outputs, states = own["layer"](x)
        last = states[0] if isinstance(states, tuple) else states
        repeated: Tensor = outputs + last[-1].unsqueeze(1)
        return repeated

    kind = draw.choice([nn.LSTM, nn.GRU, nn.RNN])
    return Stage(
        f"{kind.__name__} and its last state at every step", run, {"layer": kind(WIDTH, WIDTH, batch_first=True)}
    )


def _cells(draw: random.Random) -> Stage:
    kind = draw.choice([nn.LSTMCell, nn.GRUCell, nn.RNNCell])

    def run(own: nn.ModuleDict, given: Given, x: Tensor) -> Tensor:
        state: Any = None
        outputs = []
        for step in range(3):
            state = own["cell"](x[:, step], state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outputs, 1)

    cell = kind(WIDTH, WIDTH)
    return Stage(f"{kind.__name__} over 3 steps", run, {"cell": cell}, keeps_time=False)


def _stack(draw: random.Random) -> Stage:
    kind = draw.choice(["lstm", "gru", "rnn-tanh", "rnn-relu"])
    config = RecurrentConfig(kind=kind, input_size=WIDTH, hidden_size=WIDTH, num_layers=draw.choice([1, 2]))

    def run(own: nn.ModuleDict, given: Given, x: Tensor) -> Tensor:
        outputs: Tensor = own["stack"](x, own["stack"].zero_state(x.size(0)))[0]  # type: ignore[operator]
        return outputs

    return Stage(f"RecurrentStack {kind}", run, {"stack": RecurrentStack(config)})


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


_Draw = Callable[[random.Random], Stage]
_BEFORE: Sequence[_Draw] = (
    *(_linear, _normalised, _convolution, _cut, _padded, _elementwise, _elementwise, _elementwise, _masked, _residual),
    *(_branch, _unknown),
)
_RECURRENT: Sequence[_Draw] = (_layer, _layer, _layer, _packed, _packed, _last_state, _cells, _stack)
_OVER_VALID: Sequence[_Draw] = (_valid_mean, _valid_maximum, _attention, _at_the_end)
_POOLS: Sequence[_Draw] = (_mean, _maximum, _last, *_OVER_VALID)
_ROW_HEADS: Sequence[_Draw] = (_row_head,) * 12 + (_double_head,)
_HEADS: Sequence[_Draw] = (_head,)
