"""Sentence pairs, for translation: two downloaded data sets and your own file."""

import importlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from models.bundle import Languages
from models.errors import ConfigError, DataError
from training.data.corpus import Origin, columns_of, digest, lines_of, read_dataset, text_of

SHUFFLE_SEED = 42  # part of the split, so not the recipe's seed: runs with different seeds must be comparable


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str
    attribution: str = ""  # who wrote them, where the licence wants it named


@dataclass(frozen=True)
class PairCorpus:
    """A data set of translations in memory."""

    name: str
    origin: Origin
    languages: Languages
    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    sha256: str  # of the raw bytes that were read
    notice: str = ""  # what the source asks of models made from it, for the card
    may_quote: bool = False  # whether the card may quote examples of it


def without_repetitions(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """The pairs in their order, each (source, target) once, none with an empty side."""
    kept = {(pair.source, pair.target): pair for pair in reversed(list(pairs)) if pair.source and pair.target}
    return tuple(reversed(kept.values()))


def split_by_source(
    pairs: Sequence[Pair], validation_share: float, name: str
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Split at random with a fixed seed, so that no source is in both parts.

    Raises:
        DataError: a part would be empty.
    """
    sources = sorted({pair.source for pair in pairs})
    random.Random(SHUFFLE_SEED).shuffle(sources)
    held_out = set(sources[: round(len(sources) * validation_share)])
    train = tuple(pair for pair in pairs if pair.source not in held_out)
    validation = tuple(pair for pair in pairs if pair.source in held_out)
    if not train or not validation:
        raise DataError(
            f"{name}: {len(sources)} different sources cannot be split with a validation share of {validation_share}; "
            "use more pairs."
        )
    return train, validation


def checked_languages(languages: Languages, allowed: Sequence[frozenset[str]], name: str) -> None:
    """Raises ConfigError unless source and target are, in either order, one of the allowed sets of two."""
    if frozenset({languages.source, languages.target}) not in allowed:
        choices = ", ".join(" and ".join(sorted(both)) for both in allowed)
        raise ConfigError(
            f"languages {languages.source} to {languages.target}: dataset {name} has {choices}, in either direction."
        )


TATOEBA_FOLDERS = {frozenset({"en", "zh"}): "tatoeba_cmn_eng", frozenset({"en", "fr"}): "tatoeba_fra_eng"}
TATOEBA_NOTICE = (
    "The sentences are by the contributors of tatoeba.org, collected by manythings.org/anki, under CC BY 2.0 FR "
    "(https://creativecommons.org/licenses/by/2.0/fr/)."
)


def tatoeba(languages: Languages) -> PairCorpus:
    """Tatoeba (manythings.org/anki): English-Chinese with a column of attributions, English-French without.

    The training and validation parts are files of their own, split by distinct English sentence.

    Raises:
        DataError: it is absent or malformed.
        ConfigError: it does not have these languages.
    """
    checked_languages(languages, list(TATOEBA_FOLDERS), "tatoeba")
    folder = TATOEBA_FOLDERS[frozenset({languages.source, languages.target})]
    archive = folder.removeprefix("tatoeba_").split("_")[0]
    origin = Origin(
        title=f"Tatoeba sentence pairs ({archive}-eng)",
        upstream=f"https://www.manythings.org/anki/{archive}-eng.zip (split it by English sentence, gzip both parts)",
        licence="CC BY 2.0 FR",
    )
    raw = [read_dataset(f"{folder}/{part}.txt.gz", origin) for part in ("train", "val")]
    train, validation = (
        _tatoeba_pairs(content, f"{folder}/{part}.txt.gz", languages)
        for content, part in zip(raw, ("train", "val"), strict=True)
    )
    return PairCorpus("tatoeba", origin, languages, train, validation, digest(*raw), TATOEBA_NOTICE, may_quote=True)


def _tatoeba_pairs(raw: bytes, where: str, languages: Languages) -> tuple[Pair, ...]:
    pairs = []
    for english, other, *rest in columns_of(lines_of(raw, where), 2, where):
        attribution = rest[0].strip() if rest else ""
        sides = (english.strip(), other.strip())
        pairs.append(Pair(*(sides if languages.source == "en" else sides[::-1]), attribution))
    return without_repetitions(pairs)


MULTI30K = Origin(
    title="Multi30k, task 1",
    upstream="https://github.com/multi30k/dataset/tree/master/data/task1/raw",
    licence="stated for the images only; the text is usually quoted as CC BY-NC-SA 4.0",
)
MULTI30K_LANGUAGES = [frozenset(both) for both in ({"en", "de"}, {"en", "fr"}, {"de", "fr"})]
MULTI30K_PLACEHOLDER = "@@"  # alone on two lines of train.de, where there is no translation
MULTI30K_NOTICE = "Not for commercial use."


def multi30k(languages: Languages) -> PairCorpus:
    """Multi30k (Elliott et al. 2016; French: Elliott et al. 2017): image descriptions in English, German, French.

    Raises:
        DataError: it is absent, or the two sides differ in their number of lines.
        ConfigError: it does not have these languages.
    """
    checked_languages(languages, MULTI30K_LANGUAGES, "multi30k")
    files = [f"multi30k/{part}.{side}.gz" for part in ("train", "val") for side in (languages.source, languages.target)]
    raw = [read_dataset(file, MULTI30K) for file in files]
    sides = [_aligned_lines(content, file) for content, file in zip(raw, files, strict=True)]
    train, validation = _aligned_pairs(sides[0], sides[1], files[1]), _aligned_pairs(sides[2], sides[3], files[3])
    return PairCorpus("multi30k", MULTI30K, languages, train, validation, digest(*raw), MULTI30K_NOTICE)


def _aligned_lines(raw: bytes, file: str) -> list[str]:
    """All lines, empty ones too: they are aligned by their number."""
    return [line.strip() for line in text_of(raw, file).removesuffix("\n").split("\n")]


def _aligned_pairs(sources: list[str], targets: list[str], file: str) -> tuple[Pair, ...]:
    if len(sources) != len(targets):
        raise DataError(f"{file} has {len(targets)} lines, its source {len(sources)}; download both again.")
    aligned = zip(sources, targets, strict=True)
    return without_repetitions(Pair(*pair) for pair in aligned if MULTI30K_PLACEHOLDER not in pair)


def pairs_file(path: Path, languages: Languages, validation_share: float) -> PairCorpus:
    """Your own pairs: a UTF-8 file, plain or .gz, each line source<TAB>target.

    Args:
        path: the file; further columns are ignored.
        languages: of the two columns.
        validation_share: of the different sources, drawn with a fixed seed.

    Raises:
        DataError: it cannot be read, a line has no tab, or it is too short.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); data.path names lines source<TAB>target.") from None
    rows = columns_of(lines_of(raw, str(path)), 2, str(path))
    pairs = without_repetitions(Pair(source.strip(), target.strip()) for source, target, *_ in rows)
    train, validation = split_by_source(pairs, validation_share, str(path))
    origin = Origin(title=path.name, upstream=f"your own file {path.name}", licence="as you say; none was stated")
    return PairCorpus("pairs-file", origin, languages, train, validation, digest(raw))


def simplifier() -> Callable[[str], str]:
    """A function from text to the same text in simplified characters.

    Raises:
        ConfigError: the package opencc is not installed.
    """
    try:
        opencc = importlib.import_module("opencc")
    except ImportError:
        raise ConfigError(
            "data.simplified needs the package opencc, which is not installed: pip install opencc"
        ) from None
    convert: Callable[[str], str] = opencc.OpenCC("t2s").convert
    return convert
