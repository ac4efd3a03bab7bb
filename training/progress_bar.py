"""The bar on the terminal: epoch, windows, running loss, time left. Off a terminal, one line for each epoch."""

import sys
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from training.progress import Progress


class ProgressBar(Callback):
    """Shows a Progress that another callback keeps; list it after that one.

    Args:
        progress: where the run stands.
        epochs: epochs of the whole run.
        windows: windows of one epoch.
    """

    def __init__(self, progress: Progress, *, epochs: int, windows: int) -> None:
        self._progress = progress
        self._epochs = epochs
        self._windows = windows
        self._console = Console(file=sys.stderr)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                   TimeRemainingColumn())  # fmt: skip
        self._bar = Bar(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("", total=windows)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Say where the run begins."""
        if self._progress.epoch or self._progress.window:
            self._console.print(f"going on at epoch {self._progress.epoch + 1}, window {self._progress.window + 1}")
        self._bar.start()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """A new bar."""
        self._bar.reset(self._task, total=self._windows, completed=self._progress.window)

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Advance."""
        progress = self._progress
        loss = progress.loss_sum / max(1, progress.num_targets)
        text = f"epoch {progress.epoch + 1}/{self._epochs} loss {loss:.3f}"
        self._bar.update(self._task, completed=progress.window, description=text)

    def on_train_epoch_end(self, *_: Any, **__: Any) -> None:
        """One line that stays."""
        figures = self._progress.history[-1]
        is_best = self._progress.best_epoch == figures.epoch
        self._console.print(
            f"epoch {figures.epoch}/{self._epochs}: training {figures.train_nats_per_token:.4f} nats/token, "
            f"validation {figures.validation_nats_per_token:.4f} nats/token, "
            f"{figures.validation_nats_per_character:.4f} nats/char, "
            f"perplexity {figures.validation_perplexity:.2f}, {figures.seconds:.0f} s{', best' if is_best else ''}",
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
