"""A recipe of each task, small enough to train in a second."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.recipe import Recipe
from training.recipe_file import recipe_from_plain

RecipeMaker = Callable[..., Recipe]


def plain_recipe(folder: Path, task: str = "generation") -> dict[str, Any]:
    """A recipe over what `write_data` wrote, that writes into the folder alone."""
    common = {
        "task": task,
        "name": "tiny",
        "store": str(folder / "store"),
        "run_dir": str(folder / "run"),
        "seed": 7,
        "threads": 1,
        "trainer": {"accelerator": "cpu"},
        "optimizer": {"learning_rate": 0.01},
        "schedule": {"kind": "one-cycle", "warmup_share": 0.2},
        "epochs": 2,
        "checkpoint_every": 5,
    }
    return {**common, **OWN[task](folder)}


OWN: dict[str, Callable[[Path], dict[str, Any]]] = {
    "generation": lambda folder: {
        "data": {"dataset": "text-file", "path": str(folder / "text.txt")},
        "tokenizer": {"kind": "character"},
        "model": {"kind": "lstm", "embedding_size": 12, "hidden_size": 16, "num_layers": 2, "dropout": 0.4},
        "batch": {"lanes": 4, "window": 16},
    },
    "translation": lambda folder: {
        "languages": {"source": "en", "target": "fr"},
        "data": {
            "dataset": "pairs-file",
            "path": str(folder / "pairs.tsv"),
            "validation_share": 0.1,
            "source_variants": 0.3,
        },
        "tokenizer": {"kind": "byte-bpe", "vocab_size": 290},
        "model": {
            "kind": "gru",
            "embedding_size": 12,
            "encoder_size": 10,
            "encoder_layers": 1,
            "hidden_size": 14,
            "num_layers": 1,
            "dropout": 0.3,
        },
        "batch": {"sentences": 4},
        "label_smoothing": 0.1,
    },
    "sentiment": lambda folder: {
        "data": {
            "datasets": [
                {"dataset": "labels-file", "path": str(folder / "labels.tsv"), "validation_share": 0.1, "repeat": 2},
                {"dataset": "comparisons", "validation_share": 0.1, "examples": 30, "fade_to": 0.5},
            ],
            "validation": "labels-file",
        },
        "tokenizer": {"kind": "byte-bpe", "vocab_size": 290, "lowercase": True},
        "model": {"kind": "lstm", "embedding_size": 12, "hidden_size": 10, "num_layers": 1, "dropout": 0.3},
        "batch": {"texts": 8},
        "label_smoothing": 0.1,
        "token_dropout": 0.1,
    },
}
OWN["tagging"] = lambda folder: {
    "data": {
        "dataset": "tags-file",
        "path": str(folder / "tags.tsv"),
        "format": "tsv",
        "splitter": "words",
        "validation_share": 0.1,
    },
    "tokenizer": {"kind": "word", "least": 3},
    "fields": [{"kind": "suffix-2", "least": 1, "width": 4}, {"kind": "shape", "least": 1, "width": 2}],
    "model": {"kind": "lstm", "embedding_size": 8, "hidden_size": 10, "num_layers": 2, "dropout": 0.1},
    "batch": {"sentences": 8},
    "label_smoothing": 0.1,
    "token_dropout": 0.1,
}
OWN["sentiment, pre-trained"] = lambda folder: {
    **OWN["sentiment"](folder),
    "task": "sentiment",
    "pretraining": {
        "epochs": 1,
        "lanes": 64,
        "window": 64,
        "negatives": 30,
        "dropout": 0.1,
        "optimizer": {"learning_rate": 0.01},
        "schedule": {"kind": "one-cycle", "warmup_share": 0.2},
    },
}
OWN["tagging, pre-trained"] = lambda folder: {
    **OWN["tagging"](folder),
    "task": "tagging",
    "pretraining": OWN["sentiment, pre-trained"](folder)["pretraining"] | {"lanes": 8, "window": 16},
}


def write_text(folder: Path, num_words: int = 500) -> None:
    """Some text with something to learn in it."""
    words = random.Random(1).choices(["the", "sea", "ship", "and", "wind", "blew", "over", "a", "grey"], k=num_words)
    (folder / "text.txt").write_text(" ".join(words) + "\n", encoding="utf-8")


def write_data(folder: Path) -> None:
    """The text, pairs and labelled texts that the recipes read."""
    write_text(folder)
    dice = random.Random(2)
    words = {"sea": "mer", "ship": "bateau", "wind": "vent", "bird": "oiseau", "wave": "vague", "sail": "voile"}
    chosen = [[dice.choice(list(words)) for _ in range(dice.randint(1, 5))] for _ in range(150)]
    pairs = [f"The {' '.join(source)}.\tLe {' '.join(words[word] for word in source)}." for source in chosen]
    (folder / "pairs.tsv").write_text("\n".join(pairs) + "\n", encoding="utf-8")
    texts = [f"The {' '.join(source)} was {'calm' if 'sea' in source else 'wild'}" for source in chosen]
    labels = ["positive" if "sea" in source else "negative" for source in chosen]
    lines = [f"{text}\t{label}" for text, label in zip(texts, labels, strict=True)]
    (folder / "labels.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tagged = ["\n".join(["The\tDET", *(f"{word}\tNOUN" for word in source), ".\tPUNCT"]) for source in chosen]
    (folder / "tags.tsv").write_text("\n\n".join(tagged) + "\n", encoding="utf-8")


@pytest.fixture
def make_recipe(tmp_path: Path) -> RecipeMaker:
    """make_recipe(key=value, ...) changes top-level keys of a recipe over a small text; task=... chooses which."""
    write_data(tmp_path)

    def make(*, task: str = "generation", **changes: Any) -> Recipe:
        return recipe_from_plain({**plain_recipe(tmp_path, task), **changes}, "test recipe")

    return make
