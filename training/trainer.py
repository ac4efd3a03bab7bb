"""Lightning runs the windows; this module says which are left.

Lightning's own position is not used to resume: the run's position is `Progress`, and Lightning is asked for what is
left of the epoch and for the epochs after it. So exact resume does not depend on how Lightning counts.
"""

import logging
import signal
import warnings
from collections.abc import Iterator

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException

from training.checkpoint import load_checkpoint
from training.data.windows import Window, Windows
from training.keeper import Keeper
from training.language_model import LanguageModelTask
from training.progress import Progress
from training.progress_bar import ProgressBar
from training.recipe import Recipe
from training.run_folder import RunFolder

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its hints are not about this run


class _Remaining:
    """The windows that are left of the epoch; Lightning iterates it once an epoch."""

    def __init__(self, windows: Windows, progress: Progress) -> None:
        self._windows = windows
        self._progress = progress

    def __iter__(self) -> Iterator[Window]:
        return self._windows.starting_at(self._progress.window)


def train(
    recipe: Recipe,
    folder: RunFolder,
    task: LanguageModelTask,
    *,
    windows: Windows,
    validation: Windows,
    characters_per_token: float,
) -> Progress:
    """Train to the end of the recipe, from the folder's checkpoint when there is one.

    Args:
        recipe: what to do.
        folder: where checkpoints are read and written; `folder.best` holds the best weights afterwards.
        task: freshly initialised; holds the last weights afterwards, if there was anything left to do.
        windows: the training part.
        validation: the validation part.
        characters_per_token: of the validation part.

    Returns:
        The finished progress.

    Raises:
        DataError: the checkpoint is broken.
        ConfigError: the loss is not finite.
        SystemExit: the process was told to stop (SIGINT 1, SIGTERM 143).
    """
    checkpoint = load_checkpoint(folder.checkpoint) if folder.checkpoint.is_file() else None
    progress = Progress.from_plain(checkpoint.progress) if checkpoint else Progress()
    if progress.is_over(recipe.epochs, recipe.patience):
        return progress
    keeper = Keeper(
        recipe,
        folder,
        progress,
        checkpoint,
        windows=windows,
        validation=validation,
        characters_per_token=characters_per_token,
    )
    trainer = L.Trainer(
        accelerator=recipe.accelerator,
        devices=1,
        max_epochs=recipe.epochs - progress.epoch,
        gradient_clip_val=recipe.optimizer.clip,
        callbacks=[keeper, ProgressBar(progress, epochs=recipe.epochs, windows=len(windows))],
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
            trainer.fit(task, train_dataloaders=_Remaining(windows, progress))
        except SIGTERMException:
            raise SystemExit(128 + signal.SIGTERM) from None  # Lightning's own says 0, as if all had been done
    return progress
