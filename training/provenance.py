"""What made a bundle: recipe, data, versions, date, figures. It goes into bundle.json and onto the card."""

import datetime
import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from training.data.corpus import Corpus
from training.progress import Progress
from training.recipe import Recipe
from training.run_folder import PLACES

LIBRARIES = ("torch", "lightning", "tokenizers", "numpy", "safetensors")


def provenance(
    recipe: Recipe, corpus: Corpus, progress: Progress, *, sizes: dict[str, int], command: str
) -> dict[str, Any]:
    """Plain data for bundle.json.

    Args:
        recipe: with the overrides in it; keys that no weight depends on are left out.
        corpus: what was read.
        progress: the finished run.
        sizes: counts of tokens and characters.
        command: how a user starts this run again.
    """
    return {
        "command": command,
        "recipe": recipe.model_dump(exclude=set(PLACES)),
        "data": {**asdict(corpus.origin), "name": corpus.name, "sha256": corpus.sha256, **sizes},
        "best_epoch": progress.best_epoch,
        "epochs": [asdict(figures) for figures in progress.history],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
