"""Which graph set is fastest for each group of a model's graphs: by the cases of its task's record, timed in turn.

Two users: `python -m export bench` takes its time and compares backends; a server that finds no record compares the
CPU's sets in a few hundredths of a second a case. Both follow one rule (`choices_from`) and record what they found.

In every round each variant runs once, so that what else the machine does meets all alike.
"""

import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any, TypeVar

import numpy as np

from models.bundle import Bundle
from models.errors import RnnserveError, RunnerError
from models.store import locked
from models.tasks import Task
from runtime.choice import Choice, read_choices, write_choices
from runtime.device import cache_folder, device_name
from runtime.golden import answer_of_set, check_golden
from runtime.opening import CPU, SETS, OpenSet, open_set, step_runner

Name = TypeVar("Name")
Call = Callable[[], object]
Say = Callable[[str], None]
ROUNDS = 9
BLOCK_SECONDS = 0.02  # about as long as one variant runs in a round
SHORT_ROUNDS, SHORT_BLOCK_SECONDS, SHORT_CASE_SECONDS = 5, 0.001, 0.02  # of a server that starts
MARGIN = 1.1  # another set than the first is taken where it is so many times as fast: near ties stay as they are
_MAX_CALLS = 1000


@dataclass(frozen=True)
class Variant:
    """One graph set on one backend."""

    backend: str
    set: str

    def __str__(self) -> str:
        """As people read it."""
        return f"{self.set} on {self.backend}"


@dataclass(frozen=True)
class Case:
    """One graph at one shape.

    Attributes:
        graph: its name.
        batch: rows.
        length: positions of each row's input, or of the source that its step reads; 1 for a step alone.
    """

    graph: str
    batch: int
    length: int = 1

    def __str__(self) -> str:
        """As a table shows it."""
        return f"{self.graph} {self.batch}" + (f" x {self.length}" if self.length > 1 else "")


@dataclass(frozen=True)
class Measured:
    """One case.

    Attributes:
        case: what was timed.
        seconds: variant -> seconds of a call, one figure for each round, side by side.
        failures: variant -> why it could not run the case.
    """

    case: Case
    seconds: Mapping[Variant, list[float]]
    failures: Mapping[Variant, str]

    def microseconds(self, variant: Variant) -> float | None:
        """Median of the rounds; None where it failed."""
        return median(self.seconds[variant]) * 1e6 if variant in self.seconds else None

    def figures(self, reference: Variant) -> list[dict[str, Any]]:
        """For the record: one entry for each variant."""
        entries: list[dict[str, Any]] = []
        for variant, rounds in self.seconds.items():
            low, middle, high = quantiles(rounds, n=4) if len(rounds) > 1 else rounds * 3
            entry: dict[str, Any] = {
                "case": str(self.case),
                "backend": variant.backend,
                "set": variant.set,
                "median_us": round(middle * 1e6, 2),
                "quartiles_us": [round(low * 1e6, 2), round(high * 1e6, 2)],
            }
            if reference in self.seconds:
                entry["ratio"] = round(median_ratio(rounds, self.seconds[reference]), 4)
            entries.append(entry)
        return entries


def cases_of(bundle: Bundle) -> tuple[Case, ...]:
    """What is timed of a bundle, by its task's record."""
    return tuple(Case(graph.name, batch, length) for graph in bundle.task.graphs for batch, length in graph.bench)


def prepared(case: Case, bundle: Bundle, opened: OpenSet) -> Call:
    """A call that runs the case once, everything around it done. Rows of a step stay where they are.

    Raises:
        RunnerError: the backend cannot run the case.
    """
    task = bundle.task
    inputs = task.graph(case.graph).random_inputs(bundle.sizes, batch=case.batch, length=case.length)
    steps = step_runner(opened, task, 2 * case.batch) if task.graph(case.graph).kind == "step" else None
    if steps is None:
        sequences = opened.sequences()
        return lambda: sequences.run(case.graph, inputs)
    for slot in range(case.batch):
        kept = {tensor.name: inputs[tensor.name][slot, : case.length] for tensor in task.row_tensors}
        steps.put(slot, inputs["state"][slot], kept or None)
    in_place = np.arange(case.batch)
    return lambda: steps.step(inputs["token"], in_place)


def open_checked(bundle: Bundle, variant: Variant, threads: int = 1) -> OpenSet:
    """Open a set that answers here as where it was built.

    Raises:
        RnnserveError: it cannot be opened, or does not reproduce its golden vector.
    """
    opened = open_set(variant.backend, bundle, variant.set, threads=threads)
    golden = opened.graph_set.manifest.golden
    check_golden(variant.set, golden, answer_of_set(opened, bundle.task, golden.ids, bundle.record.state_width))
    return opened


def measure(
    bundle: Bundle,
    opened: Mapping[Variant, OpenSet],
    say: Say = lambda _: None,
    *,
    rounds: int = ROUNDS,
    block_seconds: float = BLOCK_SECONDS,
    limit_seconds: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Measured]:
    """Time each case of a bundle on each variant.

    Args:
        bundle: the model.
        opened: what is compared.
        say: called with what is being done, a line at a time.
        rounds: as paired_seconds takes it.
        block_seconds: likewise.
        limit_seconds: likewise, of each case.
        clock: likewise.
    """
    measured = []
    for case in cases_of(bundle):
        say(f"timing {case}")
        calls: dict[Variant, Call] = {}
        first: dict[Variant, float] = {}
        failures: dict[Variant, str] = {}
        for variant, graphs in opened.items():
            try:
                call = prepared(case, bundle, graphs)
                first[variant] = _timed(call, 1, clock)
                calls[variant] = call
            except RunnerError as error:
                failures[variant] = str(error)
                say(f"{case}: not {variant}: {error}")
        seconds = paired_seconds(
            calls, first, rounds, block_seconds=block_seconds, limit_seconds=limit_seconds, clock=clock
        )
        measured.append(Measured(case, seconds, failures))
    return measured


def paired_seconds(
    calls: Mapping[Name, Call],
    first: Mapping[Name, float],
    rounds: int = ROUNDS,
    *,
    block_seconds: float = BLOCK_SECONDS,
    limit_seconds: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, list[float]]:
    """Seconds of a call, for each variant and round.

    Args:
        calls: variant -> what is timed.
        first: variant -> seconds of its first call, which says how many calls make a block. It is the only figure
            where the limit leaves no time for a round.
        rounds: how often each is timed; they take turns, and the first moves on by one from round to round.
        block_seconds: about as long as one variant runs in a round.
        limit_seconds: no further round begins when so much has passed, the first calls included.
        clock: in seconds.

    Returns:
        variant -> one figure for each round, round i of all variants measured side by side.
    """
    names = list(calls)
    blocks = {name: max(1, min(_MAX_CALLS, round(block_seconds / max(first[name], 1e-7)))) for name in names}
    seconds: dict[Name, list[float]] = {name: [] for name in names}
    started = clock() - sum(first.values())
    for turn in range(rounds):
        if clock() - started > limit_seconds:
            break
        for index in range(len(names)):
            name = names[(turn + index) % len(names)]
            seconds[name].append(_timed(calls[name], blocks[name], clock))
    return {name: found or [first[name]] for name, found in seconds.items()}


def _timed(call: Call, count: int, clock: Callable[[], float]) -> float:
    started = clock()
    for _ in range(count):
        call()
    return (clock() - started) / count


def median_ratio(seconds: list[float], reference: list[float]) -> float:
    """How many times as long as the reference, by the median over rounds."""
    return median(ours / theirs for ours, theirs in zip(seconds, reference, strict=True))


def choices_from(task: Task, measured: Sequence[Measured], variants: Sequence[Variant]) -> tuple[Choice, ...]:
    """The fastest sets of each backend, the fastest backend first.

    For each group the set with the smallest geometric mean over the cases of the group's graphs: a request alone and a
    full batch count alike, however long each takes. A backend's first set is left only for one that is MARGIN times as
    fast. Backends are compared over all cases. A set that failed in a case of a group is out for that group, and a
    backend without a set for some group is out.

    Args:
        task: of the model.
        measured: every case.
        variants: what was measured; of one backend the preferred set first.
    """
    choices = []
    for backend in dict.fromkeys(variant.backend for variant in variants):
        of_backend = [variant for variant in variants if variant.backend == backend]
        sets = [_fastest([item for item in measured if item.case.graph in group], of_backend) for group in task.groups]
        if all(sets):
            choices.append(Choice(backend, tuple(name for name in sets if name)))
    return tuple(sorted(choices, key=lambda choice: _mean_of(choice, task, measured)))


def _fastest(measured: Sequence[Measured], variants: Sequence[Variant]) -> str | None:
    able = [variant for variant in variants if all(variant in item.seconds for item in measured)]
    means = {variant: _geometric_mean([median(item.seconds[variant]) for item in measured]) for variant in able}
    chosen = min(able, key=lambda variant: means[variant] * (1 if variant == variants[0] else MARGIN), default=None)
    return chosen.set if chosen else None


def _mean_of(choice: Choice, task: Task, measured: Sequence[Measured]) -> float:
    sets = choice.set_of_graphs(task)
    return _geometric_mean([median(item.seconds[Variant(choice.backend, sets[item.case.graph])]) for item in measured])


def _geometric_mean(values: Sequence[float]) -> float:
    return exp(fmean(log(value) for value in values)) if values else 1.0


def record_choices(
    bundle: Bundle, choices: Sequence[Choice], measured: Sequence[Measured], variants: Sequence[Variant]
) -> Path:
    """Write to this machine's cache what was measured; a server takes it from there. Raises OSError."""
    compared = {choice.backend: [it.set for it in variants if it.backend == choice.backend] for choice in choices}
    figures = [entry for item in measured for entry in item.figures(variants[-1])]
    rounds = max((len(times) for item in measured for times in item.seconds.values()), default=0)
    facts = {"device": device_name(), "python": platform.python_version(), "rounds": rounds}
    return write_choices(bundle, choices, compared, figures, facts)


def cpu_choice(bundle: Bundle, threads: int = 1) -> Choice | None:
    """The recorded choice among the CPU's sets, or a short measurement, which is recorded.

    A processor's time is taken where one thread computes, so that a busy machine does not disturb it. Of several
    processes that start at once, one measures.

    Args:
        bundle: the model.
        threads: of the runtime inside one operator.

    Returns:
        None where there is nothing to choose: fewer than two sets that work here.

    Raises:
        OSError: the cache cannot be written. Nothing was measured: what is not recorded might be chosen otherwise the
            next time.
    """
    folder = cache_folder(bundle.record.sha256)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        for choice in read_choices(bundle):
            if choice.backend == CPU:
                return choice
        opened: dict[Variant, OpenSet] = {}
        for name in SETS[CPU]:
            with suppress(RnnserveError):  # loading says why
                opened[Variant(CPU, name)] = open_checked(bundle, Variant(CPU, name), threads)
        if len(opened) < 2:
            return None
        measured = measure(
            bundle,
            opened,
            rounds=SHORT_ROUNDS,
            block_seconds=SHORT_BLOCK_SECONDS,
            limit_seconds=SHORT_CASE_SECONDS,
            clock=time.thread_time if threads == 1 else time.perf_counter,
        )
        variants = list(opened)
        choices = choices_from(bundle.task, measured, variants)
        if choices:
            record_choices(bundle, choices, measured, variants)
        return choices[0] if choices else None
