"""A classifier's own validation texts, and what its answers to them are worth."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from training.data.labels import Labelled
from training.recipe_file import recipe_from_plain
from training.sentiment.evaluation import Scores
from training.sentiment.mix import Mix, load_mix
from training.sentiment.recipe import SentimentRecipe


def labelled_of(bundle: Bundle) -> Mix:
    """The labelled texts that a classifier was trained and validated on, as its recipe says.

    Raises:
        DataError: they are absent or malformed.
    """
    recipe = recipe_from_plain(bundle.record.provenance["recipe"], f"recipe of {bundle.id}")
    assert isinstance(recipe, SentimentRecipe), "a classifier's recipe"
    return load_mix(recipe.data)


def class_scores(logits: NDArray[np.floating[Any]], examples: Sequence[Labelled], labels: Sequence[str]) -> Scores:
    """Accuracy, macro-F1 and nats of what a classifier answered.

    Args:
        logits: [texts, C], unnormalised log probabilities.
        examples: the texts and their labels.
        labels: by class.
    """
    z = np.asarray(logits, np.float64)
    classes = np.array([labels.index(example.label) for example in examples])
    counts = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(counts, (classes, z.argmax(axis=1)), 1)
    nats = np.logaddexp.reduce(z, axis=1) - z[np.arange(len(z)), classes]
    return Scores(float(nats.mean()), counts)
