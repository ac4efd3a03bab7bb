"""Sentence pairs, for translation: what a loader returns, two downloaded data sets and your own files."""

import importlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from models.bundle import Languages
from models.errors import ConfigError, DataError
from training.data.corpus import Origin, columns_of, digest, lines_of, read_dataset, text_of
from training.data.table import own_origin, read_table
from training.data.usage import ALL_USED, Unused, Usage

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
    test: tuple[Pair, ...] = ()  # measured at the end beside the validation part
    usage: Usage = ALL_USED
    others: tuple["PairCorpus", ...] = ()  # of a mix, the further data sets with their validation parts


def without_repetitions(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """The pairs in their order, each (source, target) once, none with an empty side."""
    kept = {(pair.source, pair.target): pair for pair in reversed(list(pairs)) if pair.source and pair.target}
    return tuple(reversed(kept.values()))


def repetitions(pairs: Sequence[Pair], source: str, key: str = "data.dataset") -> tuple[Unused, ...]:
    """What `without_repetitions` leaves out of pairs, by reason.

    Args:
        pairs: as read.
        source: the file or data set.
        key: of the recipe, which names it.
    """
    whole = [(pair.source, pair.target) for pair in pairs if pair.source and pair.target]
    counts = {"have an empty side": len(pairs) - len(whole), "are duplicates": len(whole) - len(set(whole))}
    return tuple(Unused(source, "pairs", len(pairs), count, reason, key) for reason, count in counts.items())


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
    files = [f"{folder}/{part}.txt.gz" for part in ("train", "val")]
    read = [_tatoeba_pairs(content, file, languages) for content, file in zip(raw, files, strict=True)]
    return corpus_of_pairs("tatoeba", origin, languages, read, files, raw, TATOEBA_NOTICE, may_quote=True)


def corpus_of_pairs(
    name: str,
    origin: Origin,
    languages: Languages,
    parts: Sequence[Sequence[Pair]],
    files: Sequence[str],
    raw: Sequence[bytes],
    notice: str = "",
    *,
    may_quote: bool = False,
    usage: Usage | None = None,
) -> PairCorpus:
    """A corpus of a training and a validation part, without repetitions and empty sides, which are counted.

    Args:
        name: of the data set.
        origin: where it comes from.
        languages: of the pairs.
        parts: training and validation pairs as read.
        files: the parts' names, for the counts.
        raw: the bytes that were read, for the digest.
        notice: see PairCorpus.
        may_quote: likewise.
        usage: what is said already of both parts.
    """
    usage = usage or Usage()
    for pairs, file in zip(parts, files, strict=True):
        usage = usage.with_unused(*repetitions(pairs, file))
    train, validation = map(without_repetitions, parts)
    return PairCorpus(
        name, origin, languages, train, validation, digest(*raw), notice, may_quote=may_quote, usage=usage
    )


def _tatoeba_pairs(raw: bytes, where: str, languages: Languages) -> list[Pair]:
    pairs = []
    for _, (english, other, *rest) in columns_of(lines_of(raw, where), 2, where):
        attribution = rest[0].strip() if rest else ""
        sides = (english.strip(), other.strip())
        pairs.append(Pair(*(sides if languages.source == "en" else sides[::-1]), attribution))
    return pairs


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
    sides = [aligned_lines(content, file) for content, file in zip(raw, files, strict=True)]
    parts = [aligned_pairs(sides[0], sides[1], files[1]), aligned_pairs(sides[2], sides[3], files[3])]
    kept = [[pair for pair in part if MULTI30K_PLACEHOLDER not in pair] for part in parts]
    usage = Usage().with_unused(
        *(
            Unused(file, "pairs", len(all_), len(all_) - len(part), f"are {MULTI30K_PLACEHOLDER} alone", "data.dataset")
            for file, all_, part in zip(files[1::2], parts, kept, strict=True)
        )
    )
    return corpus_of_pairs("multi30k", MULTI30K, languages, kept, files[1::2], raw, MULTI30K_NOTICE, usage=usage)


def aligned_lines(raw: bytes, file: str) -> list[str]:
    """All lines, empty ones too: they are aligned by their number."""
    return [line.strip() for line in text_of(raw, file).removesuffix("\n").split("\n")]


def aligned_pairs(sources: list[str], targets: list[str], file: str) -> list[Pair]:
    """Line by line. Raises DataError: one side has more lines."""
    if len(sources) != len(targets):
        raise DataError(f"{file} has {len(targets)} lines, its source {len(sources)}; download both again.")
    return [Pair(*pair) for pair in zip(sources, targets, strict=True)]


def pairs_file(
    path: Path,
    languages: Languages,
    validation_share: float | None,
    *,
    validation_path: Path | None = None,
    test_path: Path | None = None,
) -> PairCorpus:
    """Your own pairs: UTF-8 files, plain or .gz, with the columns source and target (CSV, TSV, JSONL).

    Args:
        path: the training pairs, or all.
        languages: of the two columns, whose codes may name them.
        validation_share: of the different sources, drawn with a fixed seed; None with a validation_path.
        validation_path: pairs that validate.
        test_path: pairs that are measured at the end. A training pair whose source is in one of these is left out.

    Raises:
        DataError: a file cannot be read, a row is malformed, or there are too few pairs.
    """
    names = (("source", languages.source), ("target", languages.target))
    raw: list[bytes] = []
    usage = Usage()

    def part(path: Path, key: str) -> tuple[Pair, ...]:
        nonlocal usage
        table = read_table(path, names, key=key, unit="pairs")
        pairs = [Pair(row.first, row.second) for row in table.rows]
        raw.append(table.raw)
        usage = usage.joined(table.usage).with_unused(*repetitions(pairs, path.name, key))
        return without_repetitions(pairs)

    train = part(path, "data.path")
    validation: tuple[Pair, ...] = ()
    if validation_path is not None:
        validation = part(validation_path, "data.validation_path")
    test = () if test_path is None else part(test_path, "data.test_path")
    for held_out, other, key in (
        (validation, validation_path, "data.validation_path"),
        (test, test_path, "data.test_path"),
    ):
        sources = {pair.source for pair in held_out}
        kept = tuple(pair for pair in train if pair.source not in sources)
        lost = len(train) - len(kept)
        usage = usage.with_unused(
            Unused(path.name, "pairs", len(train), lost, f"have a source that is in {other and other.name}", key)
        )
        train = kept
    if validation_path is None:
        assert validation_share is not None, "the recipe has been checked"
        train, validation = split_by_source(train, validation_share, str(path))
    for name, pairs in ((path, train), (validation_path, validation), (test_path, test)):
        if name is not None and not pairs:
            raise DataError(f"{name} gives no pair that can be used; write lines with a source and its translation.")
    return PairCorpus(
        "pairs-file", own_origin(path), languages, train, validation, digest(*raw), test=test, usage=usage
    )


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
