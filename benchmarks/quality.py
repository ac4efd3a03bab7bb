"""How good the shipped translator and classifiers are, on validation data, through the exported graphs.

Every figure is of the int8 graphs that ship or of fp32 ones (built in a temporary store where the bundle has none),
decoded as the server decodes, beside baselines that are made in the same run from the same training data. What is read
stands in the bundle's own recipe: the validation part is the one on its card.

    RNNSERVE_DATA=FOLDER python -m benchmarks quality
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.bag_of_words import BagOfWords
from benchmarks.graph_answers import class_logits, translations, with_sets
from benchmarks.machine import machine
from benchmarks.word_lookup import WordLookup
from models.bundle import Bundle
from models.decoding.options import TranslationOptions
from models.errors import BundleNotFoundError, DataError
from models.store import Store
from training.data.folder import VARIABLE
from training.data.labels import Labelled
from training.data.pairs import PairCorpus
from training.recipe_file import recipe_from_plain
from training.sentiment.evaluation import Scores as ClassScores
from training.sentiment.mix import Mix, load_mix
from training.sentiment.recipe import SentimentRecipe
from training.translation.datasets import load_pairs
from training.translation.evaluation import Scores, scores
from training.translation.recipe import TranslationRecipe

STORE = Path(os.environ.get("RNNSERVE_STORE", "artifacts"))
TRANSLATORS = ("translate-en-zh",)
CLASSIFIERS = ("sentiment-en", "sentiment-zh")
SETS = ("int8", "fp32")
SEARCHES = {"greedy": TranslationOptions(beam_size=1), "beam 4": TranslationOptions(beam_size=4)}
LOOKUPS = {"lookup, most frequent companion": "count", "lookup, highest Dice": "dice"}


def main() -> None:
    """Measure, print a table for each bundle, end in one JSON line."""
    if not os.environ.get(VARIABLE):
        sys.exit(
            f"{VARIABLE} is not set: `quality` reads the validation data of the shipped models. Set it to a folder."
        )
    results: dict[str, Any] = {}
    for names, measure in ((TRANSLATORS, _translator), (CLASSIFIERS, _classifier)):
        for name in names:
            try:
                bundle = Bundle(Store(STORE).resolve(name))
            except BundleNotFoundError as error:
                print(f"{name} is left out: {error}")
                continue
            try:
                results[name] = {"bundle_sha256": bundle.record.sha256, **measure(bundle)}
            except DataError as error:
                sys.exit(str(error))
    print(json.dumps({"benchmark": "quality", "machine": machine(), "results": results}))


def pairs_of(bundle: Bundle) -> PairCorpus:
    """The sentence pairs that a translator was trained and validated on, as its recipe says.

    Raises:
        DataError: they are absent or malformed.
    """
    return load_pairs(_translation_recipe(bundle))


def labelled_of(bundle: Bundle) -> Mix:
    """The labelled texts that a classifier was trained and validated on, as its recipe says.

    Raises:
        DataError: they are absent or malformed.
    """
    recipe = recipe_from_plain(bundle.record.provenance["recipe"], f"recipe of {bundle.id}")
    assert isinstance(recipe, SentimentRecipe), "a classifier's recipe"
    return load_mix(recipe.data)


def class_scores(logits: NDArray[np.floating[Any]], examples: Sequence[Labelled], labels: Sequence[str]) -> ClassScores:
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
    return ClassScores(float(nats.mean()), counts)


def _translation_recipe(bundle: Bundle) -> TranslationRecipe:
    recipe = recipe_from_plain(bundle.record.provenance["recipe"], f"recipe of {bundle.id}")
    assert isinstance(recipe, TranslationRecipe), "a translator's recipe"
    return recipe


def _translator(bundle: Bundle) -> dict[str, Any]:
    """BLEU and chrF of both sets and searches, against the references as trained on and as they were written."""
    recipe = _translation_recipe(bundle)
    corpus = load_pairs(recipe)
    unconverted = load_pairs(recipe.model_copy(update={"data": recipe.data.model_copy(update={"simplified": False})}))
    target = recipe.languages.target
    sources, references = [pair.source for pair in corpus.validation], [pair.target for pair in corpus.validation]
    found: dict[str, Scores] = {}
    raw: dict[str, Scores] = {}
    with with_sets(bundle, SETS) as bundles:
        for set_name, copy in bundles.items():
            for search, options in SEARCHES.items():
                outputs = translations(copy, set_name, sources, options)
                found[f"{set_name}, {search}"] = scores(outputs, references, target)
                if recipe.data.simplified and set_name == SETS[0]:
                    of_source = dict(zip(sources, outputs, strict=True))
                    pairs = [pair for pair in unconverted.validation if pair.source in of_source]
                    raw[f"{set_name}, {search}, references as written"] = scores(
                        [of_source[pair.source] for pair in pairs], [pair.target for pair in pairs], target
                    )
    baselines: dict[str, Scores] = {}
    for title, by in LOOKUPS.items():
        lookup = WordLookup(corpus.train, bundle.tokenizer, "dice" if by == "dice" else "count")
        baselines[title] = scores([lookup.translate(source) for source in sources], references, target)
    signatures = {"bleu": found["int8, beam 4"].bleu_signature, "chrf": found["int8, beam 4"].chrf_signature}
    ratios = {
        f"{title}: BLEU of {system} over it": found[system].bleu / max(baseline.bleu, 1e-9)
        for title, baseline in baselines.items()
        for system in ("int8, greedy", "int8, beam 4")
    }
    table = Table(
        "", "BLEU", "chrF", "exact match", title=f"{bundle.id}: {len(sources)} validation pairs", title_justify="left"
    )
    every = {**found, **raw, **baselines}
    for title, each in every.items():
        table.add_row(title, f"{each.bleu:.2f}", f"{each.chrf:.2f}", f"{each.exact_match:.3f}")
    console = Console(width=130)
    console.print(table)
    console.print(f"BLEU: {signatures['bleu']}\nchrF: {signatures['chrf']}", highlight=False)
    for title, ratio in ratios.items():
        console.print(f"{title}: {ratio:.2f}", highlight=False)
    figures = {
        title: {"bleu": each.bleu, "chrf": each.chrf, "exact_match": each.exact_match} for title, each in every.items()
    }
    return {"pairs": len(sources), "signatures": signatures, "figures": figures, "ratios": ratios}


def _classifier(bundle: Bundle) -> dict[str, Any]:
    """Accuracy and macro-F1 of both sets and of the baselines on each validation part."""
    mix, labels = labelled_of(bundle), bundle.record.labels or []
    validation = {
        name: [example for example in examples if bundle.tokenizer.encode(example.text)]
        for name, examples in mix.validation.items()
    }
    found: dict[str, dict[str, ClassScores]] = {}
    with with_sets(bundle, SETS) as bundles:
        for set_name, copy in bundles.items():
            found[set_name] = {
                name: class_scores(
                    class_logits(copy, set_name, [example.text for example in examples]), examples, labels
                )
                for name, examples in validation.items()
            }
    unit: Any = "char" if "waimai" in validation else "word"
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


def _print_classes(model: str, sizes: Mapping[str, int], found: Mapping[str, Mapping[str, ClassScores]]) -> None:
    columns = [f"{name} {figure}" for name in sizes for figure in ("accuracy", "macro-F1")]
    counts = ", ".join(f"{size:,} of {name}" for name, size in sizes.items())
    table = Table("", *columns, title=f"{model}: validation texts {counts}", title_justify="left")
    for title, parts in found.items():
        table.add_row(
            title, *(f"{100 * value:.2f}" for each in parts.values() for value in (each.accuracy, each.macro_f1))
        )
    Console(width=150).print(table)
