"""What a translator's run reads: the pairs of one data set, or of several, mixed."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from models.bundle import Languages
from models.errors import ConfigError
from training.data.chinese_pairs import captions_3am, python_docs, tatoeba_2025, wiktionary
from training.data.corpus import digest
from training.data.numbers import numbers
from training.data.pairs import (
    SHUFFLE_SEED,
    Pair,
    PairCorpus,
    multi30k,
    pairs_file,
    repetitions,
    simplifier,
    tatoeba,
    without_repetitions,
)
from training.data.usage import Unused
from training.translation.recipe import DataSection, PairsSection, TranslationRecipe


def load_pairs(recipe: TranslationRecipe) -> PairCorpus:
    """Read the data sets that a recipe names. Returns and raises as `pairs_of_section`."""
    return pairs_of_section(recipe.data, recipe.languages)


def pairs_of_section(section: DataSection, languages: Languages) -> PairCorpus:
    """Read the data sets of a recipe's section.

    Returns:
        The data set itself, or a mix: the training pairs of all, the validation part of the one that chooses the
        epoch, and the others with theirs. No training pair of a mix has a source that validates in one of them.

    Raises:
        DataError: one is absent or malformed.
        ConfigError: one does not have the recipe's languages, or opencc is needed and not installed.
    """
    corpora = [_one(part, languages) for part in section.sections]
    if section.simplified:
        corpora = [_simplified(corpus) for corpus in corpora]
    if not section.datasets:
        return corpora[0]
    places = {part.dataset: f"data.datasets.{number}" for number, part in enumerate(section.datasets)}
    return _mixed(section.sections, corpora, [places[part.dataset] for part in section.sections])


def _one(section: PairsSection, languages: Languages) -> PairCorpus:
    match section.dataset:
        case "tatoeba":
            return tatoeba(languages)
        case "tatoeba-2025":
            return tatoeba_2025(languages)
        case "3am":
            return captions_3am(languages)
        case "wiktionary":
            return wiktionary(languages)
        case "python-docs":
            return python_docs(languages)
        case "multi30k":
            return multi30k(languages)
        case "numbers":
            assert section.examples  # these three are checked by the section
            assert section.largest
            assert section.validation_share
            return numbers(
                languages,
                examples=section.examples,
                largest=section.largest,
                validation_share=section.validation_share,
            )
        case "pairs-file":
            assert section.path
            return pairs_file(
                Path(section.path),
                languages,
                section.validation_share,
                validation_path=None if section.validation_path is None else Path(section.validation_path),
                test_path=None if section.test_path is None else Path(section.test_path),
            )


def _mixed(sections: Sequence[PairsSection], corpora: Sequence[PairCorpus], keys: Sequence[str]) -> PairCorpus:
    """The first corpus with the training pairs of all."""
    held_out = {pair.source for corpus in corpora for pair in (*corpus.validation, *corpus.test)}
    usage = corpora[0].usage.of_section(keys[0])
    for corpus, key in zip(corpora[1:], keys[1:], strict=True):
        usage = usage.joined(corpus.usage.of_section(key))
    train: list[Pair] = []
    known: set[tuple[str, str]] = set()
    for section, corpus, key in zip(sections, corpora, keys, strict=True):
        name, total = corpus.name, len(corpus.train)
        free = [pair for pair in corpus.train if pair.source not in held_out]
        fresh = [pair for pair in free if (pair.source, pair.target) not in known]
        num_kept = max(1, round(len(fresh) * section.share)) if fresh else 0
        chosen = sorted(random.Random(SHUFFLE_SEED).sample(range(len(fresh)), num_kept))
        kept = [fresh[i] for i in chosen] if num_kept < len(fresh) else fresh
        known |= {(pair.source, pair.target) for pair in fresh}
        usage = usage.with_unused(
            Unused(name, "training pairs", total, total - len(free), "have a source that validates", f"{key}.dataset"),
            Unused(name, "training pairs", total, len(free) - len(fresh), "are in a data set before", f"{key}.dataset"),
            Unused(name, "training pairs", total, len(fresh) - len(kept), f"are left out, share={section.share}",
                   f"{key}.share"),
        )  # fmt: skip
        train += kept * section.repeat
    sha256 = digest("".join(corpus.sha256 for corpus in corpora).encode())
    others = tuple(replace(corpus, train=()) for corpus in corpora[1:])
    return replace(corpora[0], train=tuple(train), sha256=sha256, usage=usage, others=others)


def _simplified(corpus: PairCorpus) -> PairCorpus:
    if "zh" not in (corpus.languages.source, corpus.languages.target):
        raise ConfigError("data.simplified is for Chinese, and neither language is zh; leave it out.")
    convert = simplifier()
    usage = corpus.usage

    def converted(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
        nonlocal usage
        found = [
            pair._replace(source=convert(pair.source))
            if corpus.languages.source == "zh"
            else pair._replace(target=convert(pair.target))
            for pair in pairs
        ]
        usage = usage.with_unused(*repetitions(found, f"{corpus.name} in simplified characters", "data.simplified"))
        return without_repetitions(found)

    notice = f"{corpus.notice} Chinese was converted to simplified characters by OpenCC (t2s)."
    train, validation, test = map(converted, (corpus.train, corpus.validation, corpus.test))
    return replace(corpus, train=train, validation=validation, test=test, notice=notice.strip(), usage=usage)
