"""`python -m export bench BUNDLE`: open what runs here, time it in turn, show it, and record the choice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from models.bundle import Bundle
from models.errors import BackendMissingError, ExportError, RnnserveError
from runtime.choice import Choice
from runtime.device import device_name
from runtime.measuring import ROUNDS, Measured, Variant, choices_from, measure, open_checked, record_choices
from runtime.opening import BACKENDS, SETS, OpenSet, why_unavailable

Say = Callable[[str], None]


@dataclass(frozen=True)
class Bench:
    """What was found.

    Attributes:
        bundle: the model.
        variants: what ran.
        measured: every case.
        choices: the fastest sets of each backend, the fastest backend first.
    """

    bundle: Bundle
    variants: tuple[Variant, ...]
    measured: tuple[Measured, ...]
    choices: tuple[Choice, ...]

    @property
    def choice(self) -> Choice:
        """The fastest."""
        return self.choices[0]

    def record(self) -> Path:
        """Write the choices to this machine's cache, where the server finds them."""
        return record_choices(self.bundle, self.choices, self.measured, self.variants)

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
    measured = measure(bundle, opened, say, rounds=rounds)
    variants = tuple(opened)
    choices = choices_from(bundle.task, measured, variants)
    if not choices:
        raise ExportError(f"No graph set of {bundle.path} ran in every case; the reasons are above.")
    return Bench(bundle, variants, tuple(measured), choices)


def _opened(
    bundle: Bundle, backends: Sequence[str] | None, sets: Sequence[str] | None, say: Say
) -> dict[Variant, OpenSet]:
    opened: dict[Variant, OpenSet] = {}
    for backend in backends or BACKENDS:
        reason = why_unavailable(backend)
        if reason is not None:
            if backends:
                raise BackendMissingError(reason)
            say(f"not {backend}: {reason}")
            continue
        for name in SETS[backend]:
            variant = Variant(backend, name)
            if name not in (sets or bundle.graph_sets):
                continue
            try:
                opened[variant] = open_checked(bundle, variant)
            except RnnserveError as error:
                say(f"not {variant}: {error}")
    return opened


def _check_names(what: str, names: Sequence[str] | None, allowed: Sequence[str]) -> None:
    wrong = [name for name in names or () if name not in allowed]
    if wrong:
        raise ExportError(f"There is no {what} {ascii(wrong[0])[:80]}. There are: {', '.join(allowed)}.")
