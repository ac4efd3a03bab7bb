"""What made a bundle: recipe, data, versions, date, figures. It goes into bundle.json and onto the card."""

import datetime
import platform
from importlib.metadata import version
from typing import Any

from training.progress import Progress
from training.run_folder import PLACES
from training.task import Measured, Task

LIBRARIES = ("torch", "lightning", "tokenizers", "numpy", "safetensors")


def provenance(task: Task[Any, Any], progress: Progress, measured: Measured, *, command: str) -> dict[str, Any]:
    """Plain data for bundle.json.

    Args:
        task: what was trained; of its recipe, keys that no weight depends on are left out.
        progress: the finished run.
        measured: what stands behind the metrics goes in.
        command: how a user starts this run again.
    """
    facts = {
        "command": command,
        "recipe": task.recipe.model_dump(exclude=set(PLACES)),
        "data": {**task.data, **task.sizes},
        "best_epoch": progress.best_epoch,
        "epochs": [figures.flat() for figures in progress.history],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    return {**facts, "measured": measured.details} if measured.details else facts
