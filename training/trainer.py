"""The training loop on Lightning Fabric: updates, epochs, checkpoints, exact resume.

Fabric gives devices, precision, processes and gradient reduction. The loop is Fabric's way to write one: it carries the
state from batch to batch (truncated backpropagation through time, Williams & Peng 1990), and it can begin between any
two updates, from a position in the data that `Progress` has.

Whatever the number of devices and of accumulated batches, an update's gradient is that of the mean over all its
targets: each process weights the mean over its own by how many they are.
"""

import math
import time
from itertools import islice
from typing import Any

import torch
from lightning.fabric import Fabric
from safetensors.torch import save
from torch import Tensor

from models.errors import ConfigError
from training.average import WeightAverage
from training.checkpoint import Checkpoint, load_checkpoint, random_state, save_checkpoint, set_random_state
from training.devices import logger_of
from training.interruption import Interruption, interruptible
from training.optimizer import cycles_of, factor_of, optimizer_of
from training.progress import EpochFigures, Progress
from training.report import Report, curves, epoch_lines
from training.run_folder import RunFolder, write_whole
from training.shard import Shard
from training.stage import Batch, Stage


def train(stage: Stage[Any], folder: RunFolder, fabric: Fabric, shard: Shard) -> Progress:
    """Train to the end of the recipe, from the folder's checkpoint when there is one.

    Args:
        stage: freshly prepared; its module has the last weights afterwards, if there was anything left to do.
        folder: where checkpoints are read and written; `folder.best` has the best weights afterwards.
        fabric: launched.
        shard: this process's part of every batch.

    Returns:
        The finished progress.

    Raises:
        DataError: the checkpoint is broken.
        ConfigError: the loss is not finite.
        KeyboardInterrupt: Ctrl-C; a checkpoint of the last update is written before.
        SystemExit: SIGTERM, likewise; the exit status is 143.
    """
    recipe = stage.recipe
    checkpoint = load_checkpoint(folder.checkpoint) if folder.checkpoint.is_file() else None
    progress = Progress.from_plain(checkpoint.progress) if checkpoint else Progress()
    if progress.is_over(recipe.epochs, recipe.patience):
        return progress
    before = progress.cycles
    progress.cycles = cycles_of(
        recipe, stage.batches, progress, checkpoint.scheduler["last_epoch"] if checkpoint is not None else 0
    )
    trainer = _Trainer(stage, folder, fabric, shard, progress)
    if checkpoint is not None:
        trainer.restore(checkpoint)
    elif shard.rank:
        torch.manual_seed(recipe.seed + shard.rank)  # other dropout masks; the weights are those of rank 0
    is_longer = bool(before) and progress.cycles != before
    with (
        interruptible() as interruption,
        Report(stage, progress, is_shown=shard.rank == 0, is_longer=is_longer) as report,
    ):
        trainer.run(report, interruption)
    return progress


class _Trainer:
    def __init__(self, stage: Stage[Any], folder: RunFolder, fabric: Fabric, shard: Shard, progress: Progress) -> None:
        self._stage = stage
        self._folder = folder
        self._fabric = fabric
        self._shard = shard
        self._progress = progress
        self._state: Tensor | None = None  # float32 [lanes of this process, D], between two batches of an epoch
        optimizer, self._scheduler = optimizer_of(stage.module, stage.recipe, progress.cycles)
        self._module, self._optimizer = fabric.setup(stage.module, optimizer)
        self._average = WeightAverage(stage.recipe.average, stage.module.model, stage.recipe.epochs)
        self._logger = logger_of(stage.recipe.trainer.logger, folder.path) if shard.rank == 0 else None
        self._since = 0.0

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put everything back to where the checkpoint was taken."""
        self._stage.module.model.load_state_dict(checkpoint.weights)
        self._optimizer.load_state_dict(checkpoint.optimizer)
        self._scheduler.load_state_dict(checkpoint.scheduler)
        for group, highest in zip(self._optimizer.param_groups, self._scheduler.base_lrs, strict=True):
            step = self._scheduler.last_epoch  # in a cycle that was just added the rate is another than the saved one
            group["lr"] = highest * factor_of(self._stage.recipe.schedule, step, self._progress.cycles)
        self._average.restore(checkpoint.average)
        if checkpoint.state is not None:
            self._state = self._shard.rows(checkpoint.state).to(self._fabric.device)
        set_random_state([checkpoint.generators, *checkpoint.other_generators][self._shard.rank])

    def run(self, report: Report, interruption: Interruption) -> None:
        """Train until the progress is over, or all processes agree that one of them was asked to stop."""
        progress, batches, recipe = self._progress, self._stage.batches, self._stage.recipe
        self._since = time.monotonic()
        while not progress.is_over(recipe.epochs, recipe.patience):
            report.start_epoch()
            self._stage.start_epoch(progress.epoch)
            rest = batches.starting_at(progress.epoch, progress.position)
            while group := list(islice(rest, recipe.trainer.accumulate_grad_batches)):
                before = progress.position
                is_asked = self._update(group, is_asked=interruption.is_asked)
                report.update()
                if is_asked:  # also after an epoch's last batch: resuming begins with its validation
                    self._save()
                    interruption.leave()
                is_due = progress.position // recipe.checkpoint_every > before // recipe.checkpoint_every
                if is_due and progress.position < batches.num_batches(progress.epoch):
                    self._save()  # never between an epoch's last batch and its validation
            self._finish_epoch()
            report.finish_epoch()
            if any(self._shard.total([float(interruption.is_asked)])):  # during the validation
                interruption.leave()

    def _update(self, group: list[Batch], *, is_asked: bool) -> bool:
        """One update from the batches of a group.

        Args:
            group: the batches.
            is_asked: whether this process was asked to stop.

        Returns:
            Whether any process was.
        """
        num_targets = sum(batch.num_targets for batch in group)
        nats = 0.0
        for number, whole in enumerate(group):
            batch = self._fabric.to_device(whole.shard(self._shard))
            with self._fabric.no_backward_sync(self._module, enabled=number < len(group) - 1):
                loss, self._state = self._module(batch, self._state)
                self._fabric.backward(loss * (batch.num_targets * self._shard.num_ranks / num_targets))
            nats += float(loss.detach()) * batch.num_targets
        nats, num_asked = self._shard.total([nats, float(is_asked)])
        _check_finite(nats / num_targets, f"epoch {self._progress.epoch + 1}, batch {group[-1].position + 1}")
        self._fabric.clip_gradients(
            self._module, self._optimizer, max_norm=self._stage.recipe.optimizer.clip, error_if_nonfinite=False
        )
        self._optimizer.step()
        self._scheduler.step()
        self._optimizer.zero_grad()
        self._average.finish_update()
        self._progress.add(nats, num_targets, len(group), self._lap())
        self._log(
            {
                f"update_{self._stage.loss}_per_{self._stage.unit}": nats / num_targets,
                "learning_rate": self._learning_rate(),
            }
        )
        return num_asked > 0

    def _finish_epoch(self) -> None:
        """Measure on the validation part, keep the best weights, write everything down."""
        stage, progress, folder = self._stage, self._progress, self._folder
        self._average.finish_epoch(progress.epoch + 1)
        with self._average.in_place():
            validation = stage.validate(self._shard)
            weights = stage.module.model.named_parameters()
            validated = {name: parameter.detach().cpu().clone() for name, parameter in weights}
        for figure in validation.figures.values():
            _check_finite(figure, f"validation after epoch {progress.epoch + 1}")
        figures = EpochFigures(
            epoch=progress.epoch + 1,
            losses={f"train_{stage.loss}_per_{stage.unit}": progress.loss_sum / progress.num_targets},
            validation=validation.figures,
            learning_rate=self._learning_rate(),
            seconds=progress.seconds + self._lap(),
        )
        is_best = progress.finish_epoch(figures, validation.rank)
        self._state = None
        if self._shard.rank == 0:
            if is_best:
                write_whole(folder.best, save(validated))
            write_whole(folder.log, epoch_lines(progress.history).encode())
            write_whole(
                folder.picture,
                curves(progress, stage.recipe, f"{stage.loss}_per_{stage.unit}", self._scheduler.last_epoch),
            )
        self._log(figures.flat())
        if self._logger is not None:
            self._logger.save()
        self._save()
        self._since = time.monotonic()

    def _save(self) -> None:
        """Write a checkpoint; no process continues before it is on the disk."""
        states = self._shard.gathered(None if self._state is None else self._state.cpu())
        generators, *other_generators = self._shard.gathered(random_state())
        if self._shard.rank == 0:
            parts = [state for state in states if state is not None]
            checkpoint = Checkpoint(
                progress=self._progress.to_plain(),
                weights=self._stage.module.model.state_dict(),
                optimizer=self._optimizer.state_dict(),
                scheduler=self._scheduler.state_dict(),
                state=self._shard.whole(parts) if parts else None,
                generators=generators,
                other_generators=other_generators,
                average=self._average.to_plain(),
            )
            save_checkpoint(self._folder.checkpoint, checkpoint)
        self._fabric.barrier()

    def _log(self, figures: dict[str, float]) -> None:
        if self._logger is not None:
            self._logger.log_metrics(figures, step=self._scheduler.last_epoch)  # which counts updates

    def _learning_rate(self) -> float:
        return float(self._optimizer.param_groups[0]["lr"])

    def _lap(self) -> float:
        """Seconds since the last call."""
        now = time.monotonic()
        self._since, lap = now, now - self._since
        return lap


def _check_finite(value: float, where: str) -> None:
    if not math.isfinite(value):
        raise ConfigError(
            f"the loss is {value} in {where}; lower optimizer.learning_rate or optimizer.clip, and begin again "
            "with --fresh."
        )
