"""`python -m export bench BUNDLE`: open what runs here, time it in turn, show it, and record the choice."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from export.bench.cases import cases_of, prepared
from export.bench.measured import Measured, chosen
from export.bench.timing import ROUNDS, Call, paired_seconds
from models.bundle import Bundle
from models.errors import BackendMissingError, ExportError, RnnserveError, RunnerError
from runtime.choice import Choice, write_choice
from runtime.device import device_name
from runtime.golden import answer_of_set, check_golden
from runtime.opening import BACKENDS, SETS, OpenSet, open_set, why_unavailable

Say = Callable[[str], None]


@dataclass(frozen=True)
class Bench:
    """What was found.

    Attributes:
        bundle: the model.
        variants: what ran.
        measured: every case.
        choice: the fastest.
    """

    bundle: Bundle
    variants: tuple[Choice, ...]
    measured: tuple[Measured, ...]
    choice: Choice

    def record(self) -> Path:
        """Write the choice to this machine's cache, where the server's backend `auto` finds it."""
        figures = [entry for item in self.measured for entry in item.figures(self.variants[-1])]
        facts = {"device": device_name(), "python": platform.python_version(), "rounds": _num_rounds(self.measured)}
        return write_choice(self.bundle.record.sha256, self.choice, figures, facts)

    def table(self) -> Table:
        """Microseconds of a call by case and variant."""
        title = f"{self.bundle.id} on {device_name()}: microseconds of a call, median of rounds in turn"
        table = Table("case", *map(str, self.variants), title=title, title_justify="left")
        for item in self.measured:
            times = [item.microseconds(variant) for variant in self.variants]
            least = min(time for time in times if time is not None)
            cells = ["-" if time is None else f"{time:.1f}" for time in times]
            table.add_row(
                str(item.case),
                *(f"[bold]{cell}[/]" if time == least else cell for cell, time in zip(cells, times, strict=True)),
            )
        return table


def bench(
    bundle: Bundle,
    backends: Sequence[str] | None = None,
    sets: Sequence[str] | None = None,
    *,
    rounds: int = ROUNDS,
    say: Say = lambda _: None,
) -> Bench:
    """Time a model on every backend and graph set at hand.

    Args:
        bundle: the model.
        backends: which; None for all. One that is asked for by name and is not here is an error.
        sets: which; None for those that the bundle has.
        rounds: how often each variant is timed in each case.
        say: called with what is done, a line at a time.

    Raises:
        ExportError: a name is not one of a backend or set, or nothing can be timed.
        BackendMissingError: a backend that was asked for is not here.
    """
    _check_names("backend", backends, BACKENDS)
    _check_names("graph set", sets, tuple(dict.fromkeys(name for names in SETS.values() for name in names)))
    opened = _opened(bundle, backends, sets, say)
    if not opened:
        raise ExportError(
            f"{bundle.path} has no graph set that can be timed here. Build one: python -m export build {bundle.path}"
        )
    measured = []
    for case in cases_of(bundle):
        say(f"timing {case}")
        calls: dict[Choice, Call] = {}
        failures: dict[Choice, str] = {}
        for variant, graphs in opened.items():
            try:
                calls[variant] = prepared(case, bundle, graphs)
                calls[variant]()
            except RunnerError as error:
                calls.pop(variant, None)
                failures[variant] = str(error)
                say(f"{case}: not {variant}: {error}")
        seconds = paired_seconds({str(variant): call for variant, call in calls.items()}, rounds)
        measured.append(Measured(case, {variant: seconds[str(variant)] for variant in calls}, failures))
    variants = tuple(opened)
    if not any(all(variant in item.seconds for item in measured if item.case.is_decisive) for variant in variants):
        raise ExportError(f"No graph set of {bundle.path} ran in every case; the reasons are above.")
    return Bench(bundle, variants, tuple(measured), chosen(measured, variants))


def _opened(
    bundle: Bundle, backends: Sequence[str] | None, sets: Sequence[str] | None, say: Say
) -> dict[Choice, OpenSet]:
    opened: dict[Choice, OpenSet] = {}
    for backend in backends or BACKENDS:
        reason = why_unavailable(backend)
        if reason is not None:
            if backends:
                raise BackendMissingError(reason)
            say(f"not {backend}: {reason}")
            continue
        for name in SETS[backend]:
            variant = Choice(backend, name)
            if name not in (sets or bundle.graph_sets):
                continue
            try:
                opened[variant] = _checked(bundle, open_set(backend, bundle, name))
            except RnnserveError as error:
                say(f"not {variant}: {error}")
    return opened


def _checked(bundle: Bundle, opened: OpenSet) -> OpenSet:
    """The set, if it answers here as where it was built. Raises RunnerError."""
    golden = opened.graph_set.manifest.golden
    found = answer_of_set(opened, bundle.task, golden.ids, bundle.record.state_width)
    check_golden(opened.graph_set.name, golden, found)
    return opened


def _check_names(what: str, names: Sequence[str] | None, allowed: Sequence[str]) -> None:
    wrong = [name for name in names or () if name not in allowed]
    if wrong:
        raise ExportError(f"There is no {what} {ascii(wrong[0])[:80]}. There are: {', '.join(allowed)}.")


def _num_rounds(measured: Sequence[Measured]) -> int:
    return max(len(rounds) for item in measured for rounds in item.seconds.values())
