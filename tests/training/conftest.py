"""A recipe small enough to train in a second."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.config import checked
from training.recipe import Recipe

RecipeMaker = Callable[..., Recipe]


def plain_recipe(folder: Path) -> dict[str, Any]:
    """A recipe over folder/text.txt that writes into folder alone."""
    return {
        "task": "language-model",
        "name": "tiny",
        "store": str(folder / "store"),
        "run_dir": str(folder / "run"),
        "seed": 7,
        "threads": 1,
        "accelerator": "cpu",
        "data": {"dataset": "text-file", "path": str(folder / "text.txt")},
        "tokenizer": {"kind": "character"},
        "model": {"kind": "lstm", "embedding_size": 12, "hidden_size": 16, "num_layers": 2, "dropout": 0.4},
        "batch": {"lanes": 4, "window": 16},
        "optimizer": {"learning_rate": 0.01},
        "schedule": {"kind": "one-cycle", "warmup_share": 0.2},
        "epochs": 2,
        "checkpoint_every": 5,
    }


def write_text(folder: Path, num_words: int = 500) -> None:
    """Some text with something to learn in it."""
    words = random.Random(1).choices(["the", "sea", "ship", "and", "wind", "blew", "over", "a", "grey"], k=num_words)
    (folder / "text.txt").write_text(" ".join(words) + "\n", encoding="utf-8")


@pytest.fixture
def make_recipe(tmp_path: Path) -> RecipeMaker:
    """make_recipe(key=value, ...) changes top-level keys of a recipe over a small text."""
    write_text(tmp_path)

    def make(**changes: Any) -> Recipe:
        return checked(Recipe, {**plain_recipe(tmp_path), **changes}, "test recipe")

    return make
