"""The numbers of a source and of its translation: which are missing, which are invented, and the signs beside them."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_DIGITS = "零一二三四五六七八九"
_UNITS = ((10_000, "万"), (1000, "千"), (100, "百"), (10, "十"))
_NUMERAL = _DIGITS + "〇两十百千万亿"
_MOST = 99_999_999  # the largest whose Chinese numeral is looked for

_SIGNED = re.compile(
    r"(?P<before>(?<![\w)\]])[-−](?=\d)|[$€£¥￥]\s?)?(?P<number>\d+(?:[.,:/-]\d+)*)"
    r"(?P<after>\s?°\s?[CF]\b|\s?[%‰°€£¥￥$](?!\w))?"
)
_SAID = {  # how a sign may be said in words, or with another sign
    "%": "[%％]|百分|percent|per cent|pour cent|prozent",
    "‰": "‰|千分|per mil|pour mille|promille",
    "°": "[°℃℉度]|摄氏|华氏|degr|grad",
    "$": "[$＄元块]|美金|dollar",
    "€": "€|欧|euro",
    "£": "[£￡镑]|pound|livre|pfund",
    "¥": "[¥￥元块]|日圆|yen|yuan",
    "-": "[-−–－负]|零下|minus|moins|below",
}
_NEAR = 8  # characters beside a number in which its sign is looked for
_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec"
_FRACTIONS = {"half": ("30", "2", "0.5"), "quarter": ("15", "45", "4"), "dozen": ("12",), "once": ("1",)}
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12, "twice": 2}
_WORDS = {
    **{word: value for value, word in enumerate(_SMALL.split())},
    **{word: 10 * value for value, word in enumerate(_TENS.split(), 2)},
    **_ORDINALS,
}
_SIZES = {"hundred": 100, "thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000}
_SURE_BELOW = 100  # a smaller number may be a word of a language whose words are not known here


def numbers(text: str) -> Iterator[re.Match[str]]:
    """The numbers that a text has in digits, such as 1,987 and 3:30."""
    return _NUMBER.finditer(text)


def missing(source: str, translation: str) -> list[re.Match[str]]:
    """The numbers of a source that its translation has neither in digits nor as a Chinese numeral.

    Args:
        source: the source.
        translation: its translation; a number that is there once stands for one of the source.
    """
    there = [_plain(match[0]) for match in numbers(translation)]
    rest = translation
    lacking = []
    for match in numbers(source):
        plain = _plain(match[0])
        if plain in there:
            there.remove(plain)
            continue
        spelt = re.compile(rf"(?<![{_NUMERAL}])(?:{'|'.join(_numerals(match[0])) or '^$'})(?![{_NUMERAL}])").search(
            rest
        )
        if spelt is None:
            lacking.append(match)
        else:
            rest = f"{rest[: spelt.start()]} {rest[spelt.end() :]}"
    return lacking


class Sign(NamedTuple):
    """A sign beside a number of a source that its translation lacks.

    Attributes:
        text: the number with its sign.
        before: the sign before the number, or nothing.
        after: the sign after it, or nothing.
        at: where in the translation the number stands; None: not in digits.
    """

    text: str
    before: str
    after: str
    at: re.Match[str] | None


def signs_lost(source: str, translation: str) -> Iterator[Sign]:
    """The signs (%, °, currencies, minus) that stand at numbers of a source and not in its translation.

    Args:
        source: the source.
        translation: its translation; a word may stand for a sign.
    """
    there = list(numbers(translation))
    for match in _SIGNED.finditer(source):
        before, after = (match["before"] or "").strip(), (match["after"] or "").strip()
        if not before and not after:
            continue
        at = next((run for run in there if _plain(run[0]) == _plain(match["number"])), None)
        near = translation
        if at is not None:
            there.remove(at)
            near = translation[max(at.start() - _NEAR, 0) : at.end() + _NEAR]
        before, after = ("" if not sign or _is_said(sign, near) else sign for sign in (before, after))
        if before or after:
            yield Sign(match[0].strip(), before, after, at)


def _is_said(sign: str, text: str) -> bool:
    key = {"−": "-", "￥": "¥"}.get(sign[0], sign[0])
    return re.search(_SAID[key], text, re.IGNORECASE) is not None


def invented(source: str, translation: str, language: str) -> list[str]:
    """The numbers that a translation has in digits and its source neither in digits nor in words.

    Args:
        source: the source.
        translation: its translation.
        language: the source's.
    """
    runs = list(numbers(translation))
    if not runs:
        return []
    known = {_plain(match[0]) for match in numbers(source)}
    parts = {str(int(part)) for match in numbers(source) for part in re.findall(r"\d+", match[0]) if part.isascii()}
    values = _values(source) if language == "en" else set()
    values |= {str(12 + int(part)) for part in parts if re.search(r"\bp\.?\s?m\b", source) and int(part) < 12}
    found = []
    for run in runs:
        plain = _plain(run[0])
        if plain in known | values or _is_in_parts(plain, parts | values):
            continue
        if language not in ("en", "zh") and plain.isdigit() and int(plain) < _SURE_BELOW:
            continue
        zeros = {"万": "0000", "亿": "00000000"}.get(translation[run.end() : run.end() + 1], "")
        if plain + zeros in known | values:
            continue
        if any(numeral in source for numeral in _numerals(plain)):
            continue
        found.append(run[0])
    return found


def _is_in_parts(number: str, known: set[str]) -> bool:
    """Whether all parts of a number such as 3:30 are known ones."""
    return all(str(int(part)) in known for part in re.findall(r"\d+", number))


def _values(text: str) -> set[str]:
    """The numbers that an English text may say in words, dates among them."""
    found: set[str] = set()
    total = last = 0
    for word in re.findall(r"[a-z]+|\d+(?:[.,]\d+)*", text.lower()):
        stem = word.removesuffix("s")
        ordinal = word.removesuffix("th").replace("twentie", "twenty")
        value = next((_WORDS[each] for each in (word, stem, ordinal) if each in _WORDS), None)
        if value is None and re.fullmatch(r"\d+", _plain(word)) and len(word) < 12:
            value = int(_plain(word))
        if value is not None:
            total = total + value if total and (total % 100 == 0 or (total % 10 == 0 and value < 10)) else value
        elif stem in _SIZES:
            total = max(total, 1) * _SIZES[stem]
        elif word != "and":
            total = 0
            found.update(_FRACTIONS.get(stem, ()))
            if word[:3] in _MONTHS.split():
                found.add(str(1 + _MONTHS.split().index(word[:3])))
            continue
        found |= {str(total), str(last + total)}
        last = total if total % 1000 == 0 else 0
        if value is not None:
            found.add(str(value))
    return found


def _plain(number: str) -> str:
    """A number without what separates its thousands, so that 1,987 and 1987 are one."""
    return re.sub(r"[,.](?=\d{3}(?!\d))", "", number)


def _numerals(number: str) -> list[str]:
    """How Chinese may write a number, the longest first; of one with separators the parts are not looked at."""
    plain = _plain(number)
    if not plain.isascii() or not plain.isdigit() or int(plain[:9]) > _MOST:
        return []
    value, spelt = int(plain), "".join(_DIGITS[int(digit)] for digit in plain)
    found = {spelt, spelt.replace("零", "〇"), _numeral(value)}
    if 10 <= value < 20:
        found.add(_numeral(value).removeprefix("一"))
    if value == 2:
        found |= {"两"}
    if value >= 100 and _numeral(value).startswith("二"):
        found.add("两" + _numeral(value)[1:])
    if value >= 10_000 and value % 10_000 == 0:
        found.add(f"{value // 10_000}万")
    return sorted(found, key=len, reverse=True)


def _numeral(value: int) -> str:
    """A number below 10^8 as a Chinese numeral: 2005 is 二千零五."""
    if value < 10:
        return _DIGITS[value]
    for size, unit in _UNITS:
        if value >= size:
            high, low = divmod(value, size)
            zero = "零" if 0 < low < size // 10 else ""
            return _numeral(high) + unit + zero + (_numeral(low) if low else "")
    raise AssertionError("every number has a unit")
