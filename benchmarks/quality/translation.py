"""A translator's BLEU and chrF through its graphs, beside translation word by word.

Measured on the validation part of the bundle's own recipe, which is the one on its card; where the recipe converts
Chinese to simplified characters, also against the references as their authors wrote them.
"""

from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.quality.graph_answers import SETS, translations, with_sets
from benchmarks.quality.word_lookup import Association, WordLookup
from models.bundle import Bundle
from models.decoding.options import TranslationOptions
from training.data.pairs import PairCorpus
from training.recipe_file import recipe_from_plain
from training.translation.corpus import load_pairs
from training.translation.evaluation import Scores, scores
from training.translation.recipe import TranslationRecipe

SEARCHES = {"greedy": TranslationOptions(beam_size=1), "beam 4": TranslationOptions(beam_size=4)}
LOOKUPS: dict[str, Association] = {"lookup, most frequent companion": "count", "lookup, highest Dice": "dice"}


def measure(bundle: Bundle) -> dict[str, Any]:
    """Measure a translator and the lookups, print the table, and return the figures as plain data.

    Raises:
        DataError: the data is absent or malformed.
    """
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
        lookup = WordLookup(corpus.train, bundle.tokenizer, by)
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


def pairs_of(bundle: Bundle) -> PairCorpus:
    """The sentence pairs that a translator was trained and validated on, as its recipe says.

    Raises:
        DataError: they are absent or malformed.
    """
    return load_pairs(_translation_recipe(bundle))


def _translation_recipe(bundle: Bundle) -> TranslationRecipe:
    recipe = recipe_from_plain(bundle.record.provenance["recipe"], f"recipe of {bundle.id}")
    assert isinstance(recipe, TranslationRecipe), "a translator's recipe"
    return recipe
