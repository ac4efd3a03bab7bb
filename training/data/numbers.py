"""Pairs of number words, English and Chinese, made here: for a machine with no data."""

import hashlib
import random

from models.bundle import Languages
from training.data.corpus import Origin
from training.data.number_words import chinese, english
from training.data.pairs import SHUFFLE_SEED, Pair, PairCorpus, checked_languages, split_by_source

ORIGIN = Origin(
    title="Numbers in words, English and Chinese", upstream="training/data/numbers.py, made when read", licence="none"
)


def load(languages: Languages, *, examples: int, largest: int, validation_share: float) -> PairCorpus:
    """Draw different numbers, each number of digits about as often as any other, and write them in words.

    Args:
        languages: en and zh, in either direction.
        examples: how many draws; a number that comes again is drawn in vain.
        largest: 99 to 99,999,999, the largest number.
        validation_share: of the numbers.

    Raises:
        ConfigError: the languages are others.
        DataError: too few for two parts.
    """
    checked_languages(languages, [frozenset({"en", "zh"})], "numbers")
    dice = random.Random(SHUFFLE_SEED)
    most_digits = len(str(largest))
    numbers = {
        min(largest, dice.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits))
        for digits in (dice.randint(1, most_digits) for _ in range(examples))
    }
    pairs = []
    for number in sorted(numbers):
        words = (english(number), chinese(number))
        pairs.append(Pair(*(words if languages.source == "en" else words[::-1])))
    train, validation = split_by_source(pairs, validation_share, "numbers")
    sha256 = hashlib.sha256("\n".join(f"{pair.source}\t{pair.target}" for pair in pairs).encode()).hexdigest()
    return PairCorpus("numbers", ORIGIN, languages, train, validation, sha256, may_quote=True)
