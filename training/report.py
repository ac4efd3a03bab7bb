"""What a run shows: bar and lines on the terminal, epochs.jsonl, the loss curve."""

import io
import json
import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from training.optimizer import factor_of
from training.progress import EpochFigures, Progress
from training.recipe import Recipe
from training.stage import Stage

_SHARES = ("accuracy", "macro_f1", "span_f1", "exact", "bleu", "mase", "wql")  # that belong on one axis
SECONDS_BETWEEN_LINES = 60  # off a terminal
_POINTS = 200  # of the learning rate's curve


class Report:
    """The bar on the terminal: epoch, batches, running loss, time left.

    Off a terminal, a line for each epoch and, where epochs are long, one a minute.

    Args:
        stage: what is trained.
        progress: where the run stands; the trainer changes it.
        is_shown: False for the processes that print nothing.
        is_longer: the recipe has more epochs than this run had before.
    """

    def __init__(self, stage: Stage[Any], progress: Progress, *, is_shown: bool, is_longer: bool = False) -> None:
        self._is_longer = is_longer
        self._stage = stage
        self._progress = progress
        self._console = Console(file=sys.stderr, quiet=not is_shown)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                   TimeRemainingColumn())  # fmt: skip
        self._bar = Bar(*columns, console=self._console, disable=not (is_shown and self._console.is_terminal))
        self._line = self._bar.add_task("")
        self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES

    def __enter__(self) -> Self:
        if self._progress.epoch or self._progress.position:
            self._console.print(f"resuming at epoch {self._progress.epoch + 1}, batch {self._progress.position + 1}")
        if self._is_longer:
            self._console.print(_longer(self._stage, self._progress), soft_wrap=True, highlight=False)
        self._bar.start()
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        self._bar.stop()
        if isinstance(error, KeyboardInterrupt | SystemExit):
            self._console.print("stopped; the same command resumes from the last checkpoint")

    def start_epoch(self) -> None:
        """A new bar."""
        progress = self._progress
        total = self._stage.batches.num_batches(progress.epoch)
        self._bar.reset(self._line, total=total, completed=progress.position)

    def update(self) -> None:
        """Advance."""
        progress = self._progress
        loss = progress.loss_sum / max(1, progress.num_targets)
        text = f"epoch {progress.epoch + 1}/{self._stage.recipe.epochs} loss {loss:.3f}"
        self._bar.update(self._line, completed=progress.position, description=text)
        if self._bar.disable and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            num_batches = self._stage.batches.num_batches(progress.epoch)
            self._console.print(f"{text}, batch {progress.position:,} of {num_batches:,}", highlight=False)

    def finish_epoch(self) -> None:
        """Print the line of the epoch."""
        figures = self._progress.history[-1]
        is_best = self._progress.best_epoch == figures.epoch
        losses = [f"training {value:.4f} {_words(name, 'train_')}" for name, value in figures.losses.items()]
        measured = [f"{value:.4f} {_words(name, 'validation_')}" for name, value in figures.validation.items()]
        self._console.print(
            f"epoch {figures.epoch}/{self._stage.recipe.epochs}: {', '.join(losses)}, "
            f"validation {', '.join(measured)}, "
            f"{figures.seconds:.0f} s{', best' if is_best else ''}",
            soft_wrap=True,
            highlight=False,
        )


def epoch_lines(history: Iterable[EpochFigures]) -> str:
    """JSON lines of the epochs' figures."""
    return "".join(json.dumps(figures.flat()) + "\n" for figures in history)


def curves(progress: Progress, recipe: Recipe, loss: str, num_updates: int) -> bytes:
    """A PNG with three panels over the epochs: the losses, what else validation measures, and the learning rate.

    Args:
        progress: at the end of an epoch; the best one is marked.
        recipe: its name is the title; dropout and label smoothing are named beside the training loss.
        loss: such as nats_per_token.
        num_updates: made so far.
    """
    epochs = [figures.epoch for figures in progress.history]
    figure = Figure(figsize=(7, 8.4), dpi=120, layout="constrained")
    losses, figures_axes, rates = FigureCanvasAgg(figure).figure.subplots(3, sharex=True, height_ratios=(3, 2, 1))
    training = [item.losses[f"train_{loss}"] for item in progress.history]
    validation = [item.validation[f"validation_{loss}"] for item in progress.history]
    losses.plot(epochs, training, "o-", label=training_label(recipe))
    losses.plot(
        epochs,
        validation,
        "o-",
        label="validation, without them" if "smoothing" in training_label(recipe) else "validation",
    )
    if progress.best_epoch:
        best = (progress.best_epoch, validation[progress.best_epoch - 1])
        losses.plot(*best, "k*", markersize=12)
        losses.annotate(f"{best[1]:.3f}", best, (0, 12), ha="center",
                        textcoords="offset points")  # fmt: skip
    losses.set(title=recipe.name, ylabel=loss.replace("_", " "))
    for name in (shown := shown_figures(progress, loss)):
        figures_axes.plot(epochs, [item.validation[name] for item in progress.history], "s-", label=_words(name, ""))
    figures_axes.set(ylabel="validation")
    if not shown:
        figures_axes.text(
            0.5, 0.5, "no other figure is measured each epoch", ha="center", transform=figures_axes.transAxes
        )
    rates.plot(*rate_course(progress, recipe, num_updates), "k-", label=f"learning rate, {recipe.schedule.kind}")
    rates.set(ylabel="learning rate", xlabel="epoch", ylim=(0, None))
    rates.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (losses, *([figures_axes] if shown else []), rates):
        axes.grid(alpha=0.3)
        axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def training_label(recipe: Recipe) -> str:
    """The legend of the training loss: what makes it higher than validation's."""
    smoothing = getattr(recipe, "label_smoothing", 0.0)
    if not smoothing:
        return "training, with dropout"
    return f"training, with dropout and label smoothing {smoothing:g}\n(its loss cannot reach 0)"


def shown_figures(progress: Progress, loss: str) -> list[str]:
    """Names of what validation measures beside the loss: shares such as accuracy, where there are any."""
    names = [name for name in progress.history[-1].validation if name != f"validation_{loss}"]
    shares = [name for name in names if name.endswith(_SHARES)]
    return shares or names


def rate_course(progress: Progress, recipe: Recipe, num_done: int) -> tuple[list[float], list[float]]:
    """Epochs, with fractions, and the learning rate in each of `num_done` updates, thinned out."""
    steps = sorted({round(i * (num_done - 1) / _POINTS) for i in range(_POINTS + 1)})
    highest = recipe.optimizer.learning_rate
    rates = [highest * factor_of(recipe.schedule, step, progress.cycles) for step in steps]
    return [len(progress.history) * (step + 1) / num_done for step in steps], rates


def _longer(stage: Stage[Any], progress: Progress) -> str:
    """What the learning rate does in a run that goes on with more epochs."""
    recipe, (*_, before, cycle) = stage.recipe, progress.cycles
    kind, rate = recipe.schedule.kind, recipe.optimizer.learning_rate
    course = {
        "constant": f"the learning rate stays at {rate:g}",
        "cosine": f"the learning rate begins again and falls along a cosine from {rate:g}",
        "one-cycle": f"the learning rate goes through one more cycle, up to {rate:g} and down again",
    }[kind]
    return (
        f"epochs was {before.epochs} and is {cycle.epochs}: the run goes on from epoch {progress.epoch + 1}; "
        f"schedule {kind}: {course}, over the {cycle.num_updates} updates that are left"
    )


def _words(name: str, prefix: str) -> str:
    """validation_nats_per_token -> nats/token."""
    return name.removeprefix(prefix).replace("_per_", "/").replace("_", " ")
