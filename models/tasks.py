"""What each task is, as data: its graphs, its state, how it is served. Knows no torch and no files.

Loading, golden vectors, bench, TensorRT profiles, verification, wrapping and the server read these records; a task of
your own is one more record, registered before it is used, and an entry of the same name in export.tasks.

Shapes are written in letters. Symbolic axes: B batch, T time, S source, K steps of a decode window, W hypotheses of a
beam, R ranks (2 W). Numbers of the model, which `sizes` of a bundle's record gives: V vocabulary, C classes, D state
row, M memory, A keys. What a model of frames takes and gives is its own: models.signature puts it into the task's
graphs, with sizes as plain numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from models.errors import ConfigError

Sizes = Mapping[str, int]
Fact = Literal["languages", "labels", "words"]
# What makes an input's values: token ids below V; the number of positions; zeros; ones; -1; [0, 1); a normal variable;
# from the tensor's low to its high, both included.
Fill = Literal["tokens", "lengths", "zeros", "ones", "none", "uniform", "normal", "range"]

BEAM = 4  # hypotheses of a search where nothing else is asked for
PREFILL_CHUNK = 32  # prompt tokens that a server reads in one call
PADDING_MULTIPLE = 16  # of every axis that is reduced over: sums of 16 floats are exact against padding


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph: shape in the letters above and numbers, dtype by its numpy name.

    Attributes:
        fill: what makes its values in `Graph.random_inputs`.
        is_optional: whether only some models' graphs have it.
        low: the least of a range.
        high: the most of a range.
    """

    name: str
    shape: Sequence[Any]  # letters, and numbers
    dtype: str = "float32"
    fill: Fill = "zeros"
    is_optional: bool = False
    low: float = 0.0
    high: float = 0.0

    def sizes(self, numbers: Mapping[str, int]) -> tuple[int, ...]:
        """Its shape in numbers, of each letter's."""
        return tuple(axis if isinstance(axis, int) else numbers[axis] for axis in self.shape)


@dataclass(frozen=True)
class RowTensor:
    """What a row keeps for its whole life beside its state, float32 [S, width]; S is padded to the multiple."""

    name: str
    width: str  # a letter
    padding_multiple: int = PADDING_MULTIPLE


@dataclass(frozen=True)
class Graph:
    """One graph of a task.

    Attributes:
        name: of its file.
        kind: "sequence" reads whole (chunks of) sequences, "step" advances rows by one element, "decode" by several,
            "choice" chooses tokens from logits.
        inputs: in order.
        outputs: in order.
        is_served: a server opens it; else it serves verification alone.
        is_required: every graph set has it; else it is opened where the set has it.
        padding_multiple: of the sequence axis.
        max_time: positions of one call; None for the longest that is admitted.
        bench: (batch, positions) that are timed to choose what runs the graph (runtime.measuring).
    """

    name: str
    kind: Literal["sequence", "step", "decode", "choice"]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    is_served: bool = True
    is_required: bool = True
    padding_multiple: int = 1
    max_time: int | None = None
    bench: tuple[tuple[int, int], ...] = ()

    def random_inputs(
        self, sizes: Sizes, *, batch: int, length: int = 1, steps: int = 8, seed: int = 0
    ) -> dict[str, NDArray[Any]]:
        """Inputs for warming up, golden vectors and timing: rows of one length, the same for the same seed.

        Args:
            sizes: the model's numbers by letter.
            batch: B.
            length: positions of each row; T and S are the next multiple of padding_multiple, ids past it 0.
            steps: K.
            seed: of the random numbers.

        Returns:
            Each input by name that every model's graph has.
        """
        generator = np.random.default_rng(seed)
        time = -(-length // self.padding_multiple) * self.padding_multiple
        numbers = {"B": batch, "T": time, "S": time, "K": steps, "W": BEAM, **sizes}
        return {
            tensor.name: _filled(tensor, tensor.sizes(numbers), length, sizes, generator)
            for tensor in self.inputs
            if not tensor.is_optional
        }


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: in bundle.json, on the command line and in the API.
        graphs: all that a graph set may have.
        engine: how requests are computed: "decode" steps rows again and again, "batch" answers each with one call,
            "decode after encode" reads a source first, "frames" reads tensors and answers them with tensors.
        inputs: what a sequence consists of: "ids" of tokens, "frames" of numbers, "none" where only state goes in.
        feeds_back: what a step's answer becomes the next step's input as.
        has_state: whether a state row is carried from call to call.
        row_tensors: what else a row keeps.
        independent: graphs that may each run from another graph set than the rest, because they take no state and what
            they give means the same in every set. All others share states and run from one set.
        session: what a session stores: "tokens" or "frames" with their state, "none" where there are no sessions.
        tokenizer: "writes" needs one whose tokens' bytes join to the text, "reads" takes any, "none" has no tokenizer.
        facts: what a bundle of the task has beside its architecture; it has no others.
        max_length: the longest input that a server admits by default, in elements; None where it has no end.
    """

    name: str
    graphs: tuple[Graph, ...]
    engine: Literal["decode", "batch", "decode after encode", "frames"]
    inputs: Literal["ids", "frames", "none"] = "ids"
    feeds_back: Literal["token", "frame", "none"] = "none"
    has_state: bool = False
    row_tensors: tuple[RowTensor, ...] = ()
    independent: tuple[str, ...] = ()
    session: Literal["tokens", "frames", "none"] = "none"
    tokenizer: Literal["writes", "reads", "none"] = "reads"
    facts: tuple[Fact, ...] = ()
    max_length: int | None = None

    def graph(self, name: str) -> Graph:
        """The graph of that name.

        Raises:
            ConfigError: there is none; the message lists those that there are.
        """
        for graph in self.graphs:
            if graph.name == name:
                return graph
        names = ", ".join(graph.name for graph in self.graphs)
        raise ConfigError(f"Task {self.name} has no graph {ascii(name)[:80]}. Graphs: {names}.")

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The names of the graphs, those together that run from one graph set."""
        rest = tuple(graph.name for graph in self.graphs if graph.name not in self.independent)
        return (*((name,) for name in self.independent), *([rest] if rest else []))

    def served_graphs(self, present: tuple[str, ...] | list[str]) -> tuple[Graph, ...]:
        """The graphs that a server opens of a set which has those in `present`."""
        return tuple(graph for graph in self.graphs if graph.is_served and (graph.is_required or graph.name in present))


_TASKS: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Make a task known by its name; once more with an equal record changes nothing.

    Raises:
        ConfigError: another task has the name.
    """
    if _TASKS.setdefault(task.name, task) != task:
        raise ConfigError(f"Task {task.name!r} is already registered with other contents; choose another name.")
    return task


def task_of(name: str) -> Task:
    """The task of that name.

    Raises:
        ConfigError: it is not registered; the message lists those that are.
    """
    if name not in _TASKS:
        raise ConfigError(f"Unknown task {ascii(name)[:80]}. Registered tasks: {', '.join(_TASKS)}.")
    return _TASKS[name]


def task_names() -> tuple[str, ...]:
    """The names of all registered tasks, in the order of registration."""
    return tuple(_TASKS)


def _registered(name: str) -> str:
    if name not in _TASKS:
        raise ValueError(f"not a registered task; registered: {', '.join(_TASKS)}")
    return name


TaskName = Annotated[str, AfterValidator(_registered)]  # a field of a record that must name a registered task


def _filled(
    tensor: Tensor, shape: tuple[int, ...], length: int, sizes: Sizes, generator: np.random.Generator
) -> NDArray[Any]:
    values: NDArray[Any]
    match tensor.fill:
        case "tokens":
            values = generator.integers(sizes["V"], size=shape)
            if len(shape) > 1:
                values[:, length:] = 0
        case "lengths":
            values = np.full(shape, length)
        case "uniform":
            values = generator.random(shape)
        case "normal":
            values = generator.standard_normal(shape)
        case "range" if tensor.dtype == "float32":
            values = generator.uniform(tensor.low, tensor.high, shape)
        case "range":
            values = generator.integers(int(tensor.low), int(tensor.high), size=shape, endpoint=True)
        case "zeros" | "ones" | "none":
            values = np.full(shape, {"zeros": 0, "ones": 1, "none": -1}[tensor.fill])
    return values.astype(tensor.dtype)


_STATE, _NEW_STATE = Tensor("state", "BD"), Tensor("new_state", "BD")
_TOKEN = Tensor("token", "B", "int64", "tokens")
_IDS, _SOURCE = Tensor("ids", "BT", "int64", "tokens"), Tensor("ids", "BS", "int64", "tokens")
_LENGTHS = Tensor("lengths", "B", "int32", "lengths")
_LOGITS = Tensor("logits", "BV")
_MEMORY = (Tensor("memory", "BSM", fill="normal"), Tensor("keys", "BSA", fill="normal"))
_FORCED = Tensor("forced", "KB", "int64", "none")
_CHOICE = (
    _FORCED,
    Tensor("uniforms", "KB", "float64", "uniform"),
    Tensor("temperature", "B", fill="ones"),
    Tensor("can_end", "KB", "bool", "ones", is_optional=True),  # where the tokenizer has an end token
)
_FILTERS = (
    Tensor("min_p", "B"),
    Tensor("top_k", "B", "int64", is_optional=True),  # of vocabularies up to 256 ids
    Tensor("top_p", "B", "float64", "ones", is_optional=True),
)
_STEP_LOGITS = Tensor("logits", "KBV", is_optional=True)  # of vocabularies up to 256 ids
_CHOSEN = Tensor("tokens", "KB", "int64")

GENERATION = register(
    Task(
        name="generation",
        graphs=(
            Graph(
                "step",
                "step",
                inputs=(_TOKEN, _STATE),
                outputs=(_LOGITS, _NEW_STATE),
                bench=((1, 1), (8, 1), (64, 1)),
            ),
            Graph(
                "advance",
                "sequence",
                inputs=(_IDS, _LENGTHS, _STATE),
                outputs=(_LOGITS, _NEW_STATE),
                max_time=PREFILL_CHUNK,
                bench=((1, PREFILL_CHUNK), (16, PREFILL_CHUNK)),
            ),
            Graph(
                "decode",
                "decode",
                inputs=(_TOKEN, _STATE, *_CHOICE),
                outputs=(_CHOSEN, _NEW_STATE, _STEP_LOGITS),
                is_required=False,
            ),
            Graph(
                "decode_filtered",
                "decode",
                inputs=(_TOKEN, _STATE, *_CHOICE, *_FILTERS),
                outputs=(_CHOSEN, _NEW_STATE, _STEP_LOGITS),
                is_required=False,
            ),
            Graph(
                "choose",
                "choice",
                inputs=(
                    Tensor("logits", "BV", fill="normal"),
                    Tensor("uniforms", "B", "float64", "uniform"),
                    Tensor("temperature", "B", fill="ones"),
                    Tensor("can_end", "B", "bool", "ones", is_optional=True),
                    *_FILTERS,
                ),
                outputs=(Tensor("tokens", "B", "int64"),),
                is_required=False,
            ),
            Graph(
                "score",
                "sequence",
                inputs=(_IDS, _LENGTHS, _STATE),
                outputs=(Tensor("logits", "BTV"), _NEW_STATE),
                is_served=False,
                is_required=False,
            ),
        ),
        engine="decode",
        feeds_back="token",
        has_state=True,
        session="tokens",
        tokenizer="writes",
    )
)

TRANSLATION = register(
    Task(
        name="translation",
        graphs=(
            Graph(
                "step",
                "step",
                inputs=(_TOKEN, _STATE, *_MEMORY, _LENGTHS),
                outputs=(_LOGITS, _NEW_STATE, Tensor("attention", "BS")),
                padding_multiple=PADDING_MULTIPLE,
                bench=((1, 48), (8, 48), (64, 48)),
            ),
            Graph(
                "encode",
                "sequence",
                inputs=(_SOURCE, _LENGTHS),
                outputs=(*_MEMORY, _STATE),
                padding_multiple=PADDING_MULTIPLE,
                bench=((1, 48), (16, 48)),
            ),
            Graph(
                "decode",
                "decode",
                inputs=(_TOKEN, _STATE, *_MEMORY, _LENGTHS, _FORCED),
                outputs=(_CHOSEN, Tensor("log_probability", "KB"), Tensor("attention", "KBS"), _NEW_STATE),
                is_required=False,
                padding_multiple=PADDING_MULTIPLE,
            ),
            Graph(
                "decode_beam",
                "decode",
                inputs=(
                    Tensor("token", "BW", "int64", "tokens"),
                    Tensor("state", "BWD"),
                    *_MEMORY,
                    _LENGTHS,
                    Tensor("log_p", "BW", "float64"),
                    Tensor("steps", "K", "int64"),
                ),
                outputs=(
                    Tensor("parents", "KBR", "int64"),
                    Tensor("tokens", "KBR", "int64"),
                    Tensor("log_probability", "KBR", "float64"),
                    Tensor("is_broken", "KBW", "bool"),
                    Tensor("attention", "KBWS"),
                    Tensor("new_state", "BWD"),
                ),
                is_required=False,
                padding_multiple=PADDING_MULTIPLE,
            ),
        ),
        engine="decode after encode",
        feeds_back="token",
        has_state=True,
        row_tensors=(RowTensor("memory", "M"), RowTensor("keys", "A")),
        independent=("encode",),
        tokenizer="writes",
        facts=("languages",),
        max_length=1024,
    )
)

SENTIMENT = register(
    Task(
        name="sentiment",
        graphs=(
            Graph(
                "classify",
                "sequence",
                inputs=(_IDS, _LENGTHS),
                outputs=(Tensor("logits", "BC"),),
                padding_multiple=PADDING_MULTIPLE,
                bench=((1, 64), (8, 64), (64, 64)),
            ),
        ),
        engine="batch",
        facts=("labels",),
        max_length=8192,
    )
)

_FRAMES = (
    Graph(
        "step",
        "step",
        inputs=(_STATE,),
        outputs=(_NEW_STATE,),
        is_required=False,  # a model without a state reads whole sequences alone
        bench=((1, 1), (8, 1), (64, 1)),
    ),
    Graph(
        "advance",
        "sequence",
        inputs=(_LENGTHS, _STATE),
        outputs=(_NEW_STATE,),
        max_time=PREFILL_CHUNK,
        bench=((1, PREFILL_CHUNK), (16, PREFILL_CHUNK)),
    ),
)

SEQUENCE = register(
    Task(
        name="sequence",
        graphs=_FRAMES,
        engine="frames",
        inputs="frames",
        has_state=True,
        session="frames",
        tokenizer="none",
        max_length=8192,
    )
)

FORECAST = register(
    Task(
        name="forecast",
        graphs=_FRAMES,
        engine="frames",
        inputs="frames",
        has_state=True,
        session="frames",
        tokenizer="none",
        max_length=8192,
    )
)
TAGGING = register(
    Task(
        name="tagging",
        graphs=(
            Graph(
                "tag",
                "sequence",
                inputs=(_IDS, _LENGTHS),
                outputs=(Tensor("logits", "BTC"),),
                padding_multiple=PADDING_MULTIPLE,
                bench=((1, 32), (8, 32), (64, 32)),
            ),
        ),
        engine="batch",
        facts=("labels", "words"),
        max_length=8192,
    )
)
