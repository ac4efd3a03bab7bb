"""Lightning runs the batches; this module says which are left.

Lightning's own position is not used to resume: the run's position is `Progress`, and Lightning is asked for what is
left of the epoch and for the epochs after it. So exact resume does not depend on how Lightning counts.
"""

import logging
import signal
import warnings
from collections.abc import Iterator
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException

from training.checkpoint import load_checkpoint
from training.keeper import Keeper
from training.progress import Progress
from training.progress_bar import ProgressBar
from training.run_folder import RunFolder
from training.stage import Batch, Batches, Stage

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its hints are not about this run


class _Remaining:
    """The batches that are left of the epoch; Lightning iterates it once an epoch."""

    def __init__(self, batches: Batches, progress: Progress) -> None:
        self._batches = batches
        self._progress = progress

    def __iter__(self) -> Iterator[Batch]:
        return self._batches.starting_at(self._progress.epoch, self._progress.position)


def train(stage: Stage[Any], folder: RunFolder) -> Progress:
    """Train to the end of the recipe, from the folder's checkpoint when there is one.

    Args:
        stage: freshly prepared; its module holds the last weights afterwards, if there was anything left to do.
        folder: where checkpoints are read and written; `folder.best` holds the best weights afterwards.

    Returns:
        The finished progress.

    Raises:
        DataError: the checkpoint is broken.
        ConfigError: the loss is not finite.
        SystemExit: the process was asked to stop (SIGINT 1, SIGTERM 143).
    """
    recipe = stage.recipe
    checkpoint = load_checkpoint(folder.checkpoint) if folder.checkpoint.is_file() else None
    progress = Progress.from_plain(checkpoint.progress) if checkpoint else Progress()
    if progress.is_over(recipe.epochs, recipe.patience):
        return progress
    trainer = L.Trainer(
        accelerator=recipe.accelerator,
        devices=1,
        max_epochs=recipe.epochs - progress.epoch,
        gradient_clip_val=recipe.optimizer.clip,
        callbacks=[Keeper(stage, folder, progress, checkpoint), ProgressBar(stage, progress)],
        plugins=[LightningEnvironment()],  # one process, also where variables of a cluster are set
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        # Lightning 2.6 builds a torch class that torch 2.13 calls deprecated.
        warnings.filterwarnings("ignore", message=r".*LeafSpec.* is deprecated", category=FutureWarning)
        try:
            trainer.fit(stage.module, train_dataloaders=_Remaining(stage.batches, progress))
        except SIGTERMException:
            raise SystemExit(128 + signal.SIGTERM) from None  # Lightning's own says 0, as if all had been done
    return progress
