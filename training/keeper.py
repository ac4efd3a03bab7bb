"""Keeps a run's progress: counts batches, closes epochs, and writes what the run folder holds.

A checkpoint is written between two batches and at the end of an epoch, never after an epoch's last batch but before
its validation: so the next thing to do is always a batch.
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
from training.epoch_log import epoch_lines
from training.loss_curve import loss_curve
from training.progress import EpochFigures, Progress
from training.run_folder import RunFolder, write_whole
from training.stage import Batch, Stage


class Keeper(Callback):
    """Lightning's callback around a Progress.

    Args:
        stage: what is trained; its recipe says how often to save and when to stop.
        folder: where to write.
        progress: where the run stands; changed in place.
        checkpoint: what to begin from; None at a beginning.
    """

    def __init__(self, stage: Stage[Any], folder: RunFolder, progress: Progress, checkpoint: Checkpoint | None) -> None:
        self._stage = stage
        self._folder = folder
        self._progress = progress
        self._checkpoint = checkpoint
        self._since = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002 - the task's own
        """Put everything back to where the checkpoint was taken."""
        checkpoint, self._checkpoint = self._checkpoint, None
        if checkpoint is not None:
            module = self._stage.module
            module.model.load_state_dict(checkpoint.weights)
            trainer.optimizers[0].load_state_dict(checkpoint.optimizer)
            trainer.lr_scheduler_configs[0].scheduler.load_state_dict(checkpoint.scheduler)
            module.state = None if checkpoint.state is None else checkpoint.state.to(module.device)
            set_random_state(checkpoint.generators)
        self._since = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,  # noqa: ARG002
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Batch,
        batch_idx: int,  # noqa: ARG002 - counted by Lightning; the run's own position is in Progress
    ) -> None:
        """Count the batch; save every so many.

        Raises:
            ConfigError: the loss is not finite.
        """
        assert isinstance(outputs, Mapping)
        progress = self._progress
        loss = _finite(float(outputs["loss"]), f"epoch {progress.epoch + 1}, batch {batch.position + 1}")
        progress.add(loss, batch.num_targets, self._lap())
        is_due = progress.position % self._stage.recipe.checkpoint_every == 0
        if is_due and progress.position < self._stage.batches.num_batches(progress.epoch):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Measure on the validation part, keep the best weights, write everything down, decide whether to stop.

        Raises:
            ConfigError: the validation loss is not finite.
        """
        stage, progress = self._stage, self._progress
        validation = stage.validate()
        where = f"validation after epoch {progress.epoch + 1}"
        for figure in validation.figures.values():
            _finite(figure, where)
        figures = EpochFigures(
            epoch=progress.epoch + 1,
            losses={f"train_nats_per_{stage.unit}": progress.loss_sum / progress.num_targets},
            validation=validation.figures,
            learning_rate=float(trainer.optimizers[0].param_groups[0]["lr"]),
            seconds=progress.seconds + self._lap(),
        )
        if progress.finish_epoch(figures, validation.rank):
            best = {name: parameter.detach().cpu() for name, parameter in stage.module.model.named_parameters()}
            write_whole(self._folder.best, save(best))
        write_whole(self._folder.log, epoch_lines(progress.history).encode())
        write_whole(self._folder.picture, loss_curve(progress, stage.recipe.name, stage.unit))
        stage.module.state = None
        self._save(trainer)
        trainer.should_stop = progress.is_over(stage.recipe.epochs, stage.recipe.patience)
        self._since = time.monotonic()

    def _save(self, trainer: L.Trainer) -> None:
        checkpoint = Checkpoint(
            progress=self._progress.to_plain(),
            weights=self._stage.module.model.state_dict(),
            optimizer=trainer.optimizers[0].state_dict(),
            scheduler=trainer.lr_scheduler_configs[0].scheduler.state_dict(),
            state=self._stage.module.state,
            generators=random_state(),
        )
        save_checkpoint(self._folder.checkpoint, checkpoint)

    def _lap(self) -> float:
        """Seconds since the last call."""
        now = time.monotonic()
        self._since, lap = now, now - self._since
        return lap


def _finite(loss: float, where: str) -> float:
    if not math.isfinite(loss):
        raise ConfigError(
            f"the loss is {loss} in {where}; lower optimizer.learning_rate or optimizer.clip, and begin again "
            "with --fresh."
        )
    return loss
