"""The data sets by the name that a recipe gives them."""

from dataclasses import replace
from pathlib import Path

from models.errors import ConfigError
from training.data import multi30k, numbers, pairs_file, tatoeba
from training.data.pairs import Pair, PairCorpus, without_repetitions
from training.data.simplified import simplifier
from training.translation.recipe import TranslationRecipe


def load_pairs(recipe: TranslationRecipe) -> PairCorpus:
    """Read the data set that a recipe names.

    Raises:
        DataError: it is absent or malformed.
        ConfigError: it does not have the recipe's languages, or opencc is needed and not installed.
    """
    section, languages = recipe.data, recipe.languages
    match section.dataset:
        case "tatoeba":
            corpus = tatoeba.load(languages)
        case "multi30k":
            corpus = multi30k.load(languages)
        case "numbers":
            assert section.examples  # these three are checked by DataSection
            assert section.largest
            assert section.validation_share
            corpus = numbers.load(
                languages,
                examples=section.examples,
                largest=section.largest,
                validation_share=section.validation_share,
            )
        case "pairs-file":
            assert section.path
            assert section.validation_share
            corpus = pairs_file.load(Path(section.path), languages, section.validation_share)
    return _simplified(corpus) if section.simplified else corpus


def _simplified(corpus: PairCorpus) -> PairCorpus:
    if "zh" not in (corpus.languages.source, corpus.languages.target):
        raise ConfigError("data.simplified is for Chinese, and neither language is zh; leave it out.")
    convert = simplifier()

    def converted(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
        return without_repetitions(
            pair._replace(source=convert(pair.source))
            if corpus.languages.source == "zh"
            else pair._replace(target=convert(pair.target))
            for pair in pairs
        )

    notice = f"{corpus.notice} Chinese was converted to simplified characters by OpenCC (t2s)."
    return replace(
        corpus, train=converted(corpus.train), validation=converted(corpus.validation), notice=notice.strip()
    )
