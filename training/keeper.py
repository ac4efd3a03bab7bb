"""Keeps a run's progress: counts windows, closes epochs, and writes what the run folder holds.

A checkpoint is written between two windows and at the end of an epoch, never after an epoch's last window but before
its validation: so the next thing to do is always a window.
"""

import math
import time
from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from safetensors.torch import save
from torch import Tensor

from models.errors import ConfigError
from training.checkpoint import Checkpoint, random_state, save_checkpoint, set_random_state
from training.data.windows import IGNORED, Window, Windows
from training.epoch_log import epoch_lines
from training.evaluation import mean_nats
from training.language_model import LanguageModelTask
from training.loss_curve import loss_curve
from training.progress import EpochFigures, Progress
from training.recipe import Recipe
from training.run_folder import RunFolder, write_whole


class Keeper(Callback):
    """Lightning's callback around a Progress.

    Args:
        recipe: how often to save, when to stop.
        folder: where to write.
        progress: where the run stands; changed in place.
        checkpoint: what to begin from; None at a beginning.
        windows: the training part.
        validation: the validation part.
        characters_per_token: of the validation part.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        progress: Progress,
        checkpoint: Checkpoint | None,
        *,
        windows: Windows,
        validation: Windows,
        characters_per_token: float,
    ) -> None:
        self._recipe = recipe
        self._folder = folder
        self._progress = progress
        self._checkpoint = checkpoint
        self._windows = windows
        self._validation = validation
        self._characters_per_token = characters_per_token
        self._since = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put everything back to where the checkpoint was taken."""
        checkpoint, self._checkpoint = self._checkpoint, None
        if checkpoint is not None:
            task = _task(pl_module)
            task.model.load_state_dict(checkpoint.weights)
            trainer.optimizers[0].load_state_dict(checkpoint.optimizer)
            trainer.lr_scheduler_configs[0].scheduler.load_state_dict(checkpoint.scheduler)
            task.state = None if checkpoint.state is None else checkpoint.state.to(task.device)
            set_random_state(checkpoint.generators)
        self._since = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Window,
        batch_idx: int,  # noqa: ARG002 - counted by Lightning; the run's own position is in Progress
    ) -> None:
        """Count the window; save every so many.

        Raises:
            ConfigError: the loss is not finite.
        """
        assert isinstance(outputs, Mapping)
        loss = _finite(float(outputs["loss"]), f"epoch {self._progress.epoch + 1}, window {batch.position + 1}")
        self._progress.add(loss, int((batch.targets != IGNORED).sum()), self._lap())
        done = self._progress.window
        if done % self._recipe.checkpoint_every == 0 and done < len(self._windows):
            self._save(trainer, _task(pl_module))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure on the validation part, keep the best weights, write everything down, decide whether to stop.

        Raises:
            ConfigError: the validation loss is not finite.
        """
        task = _task(pl_module)
        progress = self._progress
        nats = _finite(mean_nats(task.model, self._validation), f"validation after epoch {progress.epoch + 1}")
        figures = EpochFigures(
            epoch=progress.epoch + 1,
            train_nats_per_token=progress.loss_sum / progress.num_targets,
            validation_nats_per_token=nats,
            validation_nats_per_character=nats / self._characters_per_token,
            validation_perplexity=math.exp(nats),
            learning_rate=float(trainer.optimizers[0].param_groups[0]["lr"]),
            seconds=progress.seconds + self._lap(),
        )
        if progress.finish_epoch(figures):
            best = {name: parameter.detach().cpu() for name, parameter in task.model.named_parameters()}
            write_whole(self._folder.best, save(best))
        write_whole(self._folder.log, epoch_lines(progress.history).encode())
        write_whole(self._folder.picture, loss_curve(progress, self._recipe.name))
        task.state = None
        self._save(trainer, task)
        trainer.should_stop = progress.is_over(self._recipe.epochs, self._recipe.patience)
        self._since = time.monotonic()

    def _save(self, trainer: L.Trainer, task: LanguageModelTask) -> None:
        checkpoint = Checkpoint(
            progress=self._progress.to_plain(),
            weights=task.model.state_dict(),
            optimizer=trainer.optimizers[0].state_dict(),
            scheduler=trainer.lr_scheduler_configs[0].scheduler.state_dict(),
            state=task.state,
            generators=random_state(),
        )
        save_checkpoint(self._folder.checkpoint, checkpoint)

    def _lap(self) -> float:
        """Seconds since the last call."""
        now = time.monotonic()
        self._since, lap = now, now - self._since
        return lap


def _task(module: L.LightningModule) -> LanguageModelTask:
    assert isinstance(module, LanguageModelTask)
    return module


def _finite(loss: float, where: str) -> float:
    if not math.isfinite(loss):
        raise ConfigError(
            f"the loss is {loss} in {where}; lower optimizer.learning_rate or optimizer.clip, and begin again "
            "with --fresh."
        )
    return loss
