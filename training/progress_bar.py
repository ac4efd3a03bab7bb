"""The bar on the terminal: epoch, batches, running loss, time left. Off a terminal, one line for each epoch."""

import sys
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from training.progress import Progress
from training.stage import Stage


class ProgressBar(Callback):
    """Shows a Progress that another callback keeps; list it after that one.

    Args:
        stage: what is trained.
        progress: where the run stands.
    """

    def __init__(self, stage: Stage[Any], progress: Progress) -> None:
        self._stage = stage
        self._progress = progress
        self._epochs = stage.recipe.epochs
        self._console = Console(file=sys.stderr)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                   TimeRemainingColumn())  # fmt: skip
        self._bar = Bar(*columns, console=self._console, disable=not self._console.is_terminal)
        self._line = self._bar.add_task("")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Say where the run begins."""
        if self._progress.epoch or self._progress.position:
            self._console.print(f"going on at epoch {self._progress.epoch + 1}, batch {self._progress.position + 1}")
        self._bar.start()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """A new bar."""
        progress = self._progress
        total = self._stage.batches.num_batches(progress.epoch)
        self._bar.reset(self._line, total=total, completed=progress.position)

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Advance."""
        progress = self._progress
        loss = progress.loss_sum / max(1, progress.num_targets)
        text = f"epoch {progress.epoch + 1}/{self._epochs} loss {loss:.3f}"
        self._bar.update(self._line, completed=progress.position, description=text)

    def on_train_epoch_end(self, *_: Any, **__: Any) -> None:
        """One line that stays."""
        figures = self._progress.history[-1]
        is_best = self._progress.best_epoch == figures.epoch
        losses = [f"training {value:.4f} {_words(name, 'train_')}" for name, value in figures.losses.items()]
        measured = [f"{value:.4f} {_words(name, 'validation_')}" for name, value in figures.validation.items()]
        self._console.print(
            f"epoch {figures.epoch}/{self._epochs}: {', '.join(losses)}, validation {', '.join(measured)}, "
            f"{figures.seconds:.0f} s{', best' if is_best else ''}",
            soft_wrap=True,
            highlight=False,
        )

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Say how to go on after Ctrl-C or SIGTERM."""
        self._bar.stop()
        if isinstance(exception, KeyboardInterrupt | SystemExit):
            self._console.print("stopped; the same command goes on from the last checkpoint")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:  # noqa: ARG002
        """Leave the terminal as it was, also after an error."""
        self._bar.stop()


def _words(name: str, prefix: str) -> str:
    """validation_nats_per_token -> nats/token."""
    return name.removeprefix(prefix).replace("_per_", "/").replace("_", " ")
