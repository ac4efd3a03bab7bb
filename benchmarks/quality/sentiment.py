"""A classifier's accuracy and macro-F1 through its graph, beside logistic regression on bags of words.

Measured on the validation parts of the bundle's own recipe, which are those on its card.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.quality.bag_of_words import BagOfWords, Unit
from benchmarks.quality.graph_answers import SETS, class_logits, with_sets
from models.bundle import Bundle
from training.data.labels import Labelled
from training.recipe_file import recipe_from_plain
from training.sentiment.evaluation import Scores
from training.sentiment.mix import Mix, load_mix
from training.sentiment.recipe import SentimentRecipe


def measure(bundle: Bundle, unit: Unit) -> dict[str, Any]:
    """Measure a classifier and the bags of words, print the table, and return the figures as plain data.

    Args:
        bundle: the classifier.
        unit: what the bags hold.

    Raises:
        DataError: the data is absent or malformed.
    """
    mix, labels = labelled_of(bundle), bundle.record.labels or []
    validation = {
        name: [example for example in examples if bundle.tokenizer.encode(example.text)]
        for name, examples in mix.validation.items()
    }
    found: dict[str, dict[str, Scores]] = {}
    with with_sets(bundle, SETS) as bundles:
        for set_name, copy in bundles.items():
            found[set_name] = {
                name: class_scores(
                    class_logits(copy, set_name, [example.text for example in examples]), examples, labels
                )
                for name, examples in validation.items()
            }
    for title, examples in _training_parts(mix).items():
        for longest in (1, 2):
            baseline = BagOfWords(examples, labels, unit=unit, longest=longest)
            grams = f"{unit} 1-grams" if longest == 1 else f"{unit} 1-2-grams"
            found[f"logistic regression, {grams}, {title}"] = {
                name: class_scores(baseline.logits([text for text, _ in part]), part, labels)
                for name, part in validation.items()
            }
    sizes = {name: len(examples) for name, examples in validation.items()}
    _print_classes(bundle.id, sizes, found)
    figures = {
        title: {name: {"accuracy": each.accuracy, "macro_f1": each.macro_f1} for name, each in parts.items()}
        for title, parts in found.items()
    }
    return {"texts": sizes, "figures": figures}


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


def _training_parts(mix: Mix) -> dict[str, list[Labelled]]:
    """What baselines are trained on: the first data set alone, and all of them, each text whole and once."""
    whole = [(section, corpus) for section, corpus in mix.parts if section.chunk_words is None]
    first = whole[0][1]
    every = dict.fromkeys(example for _, corpus in whole for example in corpus.train)
    names = " + ".join(dict.fromkeys(corpus.name for _, corpus in whole))
    return {
        f"{first.name} train only ({len(first.train):,} texts)": list(first.train),
        f"{names} train ({len(every):,} texts)": list(every),
    }


def _print_classes(model: str, sizes: Mapping[str, int], found: Mapping[str, Mapping[str, Scores]]) -> None:
    columns = [f"{name} {figure}" for name in sizes for figure in ("accuracy", "macro-F1")]
    counts = ", ".join(f"{size:,} of {name}" for name, size in sizes.items())
    table = Table("", *columns, title=f"{model}: validation texts {counts}", title_justify="left")
    for title, parts in found.items():
        table.add_row(
            title, *(f"{100 * value:.2f}" for each in parts.values() for value in (each.accuracy, each.macro_f1))
        )
    Console(width=150).print(table)
