"""Lightning runs the windows; this module says which, and saves the run so that it goes on exactly where it stopped.

Lightning's own position is not used to resume: the run's position is `Progress`, and Lightning is asked for what is
left of the epoch and for the epochs after it. So nothing depends on how Lightning counts.
"""

import logging
import math
import time
from collections.abc import Iterator

import lightning as L
from lightning.pytorch.callbacks import Callback
from safetensors.torch import save
from torch import Tensor

from models.errors import ConfigError
from training.checkpoint import Checkpoint, load_checkpoint, random_state, save_checkpoint, set_random_state
from training.data.windows import Window, Windows
from training.epoch_log import epoch_lines
from training.evaluation import mean_nats
from training.language_model import LanguageModelTask
from training.loss_curve import loss_curve
from training.progress import EpochFigures, Progress
from training.progress_bar import ProgressBar
from training.recipe import Recipe
from training.run_folder import RunFolder, write_whole

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its advertisements are not about this run


class _Remaining:
    """The windows that are left of the epoch; Lightning iterates it once an epoch."""

    def __init__(self, windows: Windows, progress: Progress) -> None:
        self._windows = windows
        self._progress = progress

    def __iter__(self) -> Iterator[Window]:
        return self._windows.starting_at(self._progress.window)


class _Keeper(Callback):
    """Counts windows, closes epochs, writes checkpoints, the log, the picture and the best weights."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        progress: Progress,
        checkpoint: Checkpoint | None,
        validation: Windows,
        characters_per_token: float,
    ) -> None:
        self._recipe = recipe
        self._folder = folder
        self._progress = progress
        self._checkpoint = checkpoint
        self._validation = validation
        self._characters_per_token = characters_per_token
        self._since = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put everything back to where the checkpoint was taken."""
        assert isinstance(pl_module, LanguageModelTask)
        checkpoint = self._checkpoint
        if checkpoint is not None:
            pl_module.model.load_state_dict(checkpoint.weights)
            trainer.optimizers[0].load_state_dict(checkpoint.optimizer)
            trainer.lr_scheduler_configs[0].scheduler.load_state_dict(checkpoint.scheduler)
            pl_module.state = None if checkpoint.state is None else checkpoint.state.to(pl_module.device)
            set_random_state(checkpoint.generators)
            self._checkpoint = None
        self._since = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: dict[str, Tensor],
        batch: Window,
        batch_idx: int,
    ) -> None:
        """Count the window; save every so many."""
        assert isinstance(pl_module, LanguageModelTask)
        loss = float(outputs["loss"])
        if not math.isfinite(loss):
            raise ConfigError(
                f"the loss is {loss} in epoch {self._progress.epoch + 1}, window {batch.position + 1}; "
                "lower optimizer.learning_rate or optimizer.clip, and begin again with --fresh."
            )
        self._progress.add(loss, int((batch.targets >= 0).sum()), self._lap())
        if self._progress.window % self._recipe.checkpoint_every == 0:
            self._save(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure on the validation part, keep the best, write everything down."""
        assert isinstance(pl_module, LanguageModelTask)
        progress = self._progress
        nats = mean_nats(pl_module.model, self._validation)
        figures = EpochFigures(
            epoch=progress.epoch + 1,
            train_nats_per_token=progress.loss_sum / progress.num_targets,
            validation_nats_per_token=nats,
            validation_nats_per_character=nats / self._characters_per_token,
            validation_perplexity=math.exp(min(nats, 700.0)),
            learning_rate=float(trainer.optimizers[0].param_groups[0]["lr"]),
            seconds=progress.seconds + self._lap(),
        )
        if progress.finish_epoch(figures):
            best = {name: tensor.detach().cpu() for name, tensor in pl_module.model.state_dict().items()}
            write_whole(self._folder.best, save(best))
        write_whole(self._folder.log, epoch_lines(progress.history).encode())
        write_whole(self._folder.picture, loss_curve(progress, self._recipe.name))
        pl_module.state = None
        self._save(trainer, pl_module)
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
        now = time.monotonic()
        self._since, lap = now, now - self._since
        return lap


def train(
    recipe: Recipe,
    folder: RunFolder,
    task: LanguageModelTask,
    windows: Windows,
    validation: Windows,
    characters_per_token: float,
) -> Progress:
    """Train to the end of the recipe, from the folder's checkpoint when there is one.

    Args:
        recipe: what to do.
        folder: where checkpoints are read and written; `best` holds the best weights afterwards.
        task: freshly initialised; holds the last weights afterwards.
        windows: the training part.
        validation: the validation part.
        characters_per_token: of the validation part.

    Returns:
        The finished progress.

    Raises:
        DataError: the checkpoint is broken.
        ConfigError: the loss is not finite.
    """
    checkpoint = load_checkpoint(folder.checkpoint) if folder.checkpoint.is_file() else None
    progress = Progress.from_plain(checkpoint.progress) if checkpoint else Progress()
    if progress.is_over(recipe.epochs, recipe.patience):
        return progress
    keeper = _Keeper(recipe, folder, progress, checkpoint, validation, characters_per_token)
    trainer = L.Trainer(
        accelerator=recipe.accelerator,
        devices=1,
        max_epochs=recipe.epochs - progress.epoch,
        gradient_clip_val=recipe.optimizer.clip,
        callbacks=[keeper, ProgressBar(progress, recipe.epochs, len(windows))],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, train_dataloaders=_Remaining(windows, progress))
    if not progress.is_over(recipe.epochs, recipe.patience):
        raise KeyboardInterrupt
    return progress
