"""What a loader of translations returns: sentence pairs, already split, and where they come from."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from models.bundle import Languages
from models.errors import ConfigError, DataError
from training.data.corpus import Origin

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
    may_quote: bool = False  # whether examples of it may stand on the card


def without_repetitions(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """The pairs in their order, each (source, target) once, none with an empty side."""
    kept = {(pair.source, pair.target): pair for pair in reversed(list(pairs)) if pair.source and pair.target}
    return tuple(reversed(kept.values()))


def split_by_source(
    pairs: Sequence[Pair], validation_share: float, name: str
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Split at random with a fixed seed, so that no source stands in both parts.

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
