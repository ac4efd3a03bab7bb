"""Numbers in words, English and Chinese: a translation task that needs no data and has exactly one right answer."""

import hashlib
import random

from models.bundle import Languages
from training.data.corpus import Origin
from training.data.pairs import SHUFFLE_SEED, Pair, PairCorpus, checked_languages, split_by_source
from training.data.usage import Unused, Usage

LARGEST = 99_999_999

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_DIGITS = "零一二三四五六七八九"


def english(number: int) -> str:
    """The number in British words: 305 is "three hundred and five".

    Args:
        number: 0..LARGEST.
    """
    groups = [(number // 10**6, " million"), (number // 1000 % 1000, " thousand")]
    words = [_english_hundreds(value) + name for value, name in groups if value]
    rest = number % 1000
    if rest or not words:
        needs_and = bool(words) and rest < 100
        words.append(("and " if needs_and else "") + _english_hundreds(rest))
    return " ".join(words)


def chinese(number: int) -> str:
    """The number in Chinese words, read in groups of four digits: 305 is 三百零五, 100,010 is 十万零一十.

    One 零 stands for each run of zeros that other digits follow, unless the run ends a group whose next digit is not
    zero. A number that begins with 一十 begins with 十.

    Args:
        number: 0..LARGEST.
    """
    if number == 0:
        return "零"
    high, low = divmod(number, 10_000)
    words = f"{_chinese_thousands(high)}万" if high else ""
    if low:
        words += ("零" if high and low < 1000 else "") + _chinese_thousands(low)
    return words.removeprefix("一") if words.startswith("一十") else words


def _english_hundreds(number: int) -> str:
    """0..999."""
    hundreds, rest = divmod(number, 100)
    ones = f"-{_ONES[rest % 10]}" if rest % 10 else ""
    words = _ONES[rest] if rest < 20 else f"{_TENS[rest // 10 - 2]}{ones}"
    if not hundreds:
        return words
    return f"{_ONES[hundreds]} hundred" + (f" and {words}" if rest else "")


def _chinese_thousands(number: int) -> str:
    """1..9999, without a zero before its first digit."""
    words, has_gap = "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // unit % 10
        if digit:
            words += ("零" if has_gap else "") + _DIGITS[digit] + name
            has_gap = False
        elif words:
            has_gap = True
    return words


ORIGIN = Origin(
    title="Numbers in words, English and Chinese", upstream="training/data/numbers.py, made when read", licence="none"
)


def numbers(languages: Languages, *, examples: int, largest: int, validation_share: float) -> PairCorpus:
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
    drawn = {
        min(largest, dice.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits))
        for digits in (dice.randint(1, most_digits) for _ in range(examples))
    }
    pairs = []
    for number in sorted(drawn):
        words = (english(number), chinese(number))
        pairs.append(Pair(*(words if languages.source == "en" else words[::-1])))
    train, validation = split_by_source(pairs, validation_share, "numbers")
    sha256 = hashlib.sha256("\n".join(f"{pair.source}\t{pair.target}" for pair in pairs).encode()).hexdigest()
    again = Unused("numbers", "draws", examples, examples - len(pairs), "are numbers drawn before", "data.examples")
    usage = Usage().with_unused(again)
    return PairCorpus("numbers", ORIGIN, languages, train, validation, sha256, may_quote=True, usage=usage)
