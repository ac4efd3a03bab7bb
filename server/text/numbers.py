"""The numbers of a source and of its translation: which are missing, and a digit that the model got wrong."""

import re
from collections.abc import Iterator

_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_DIGITS = "零一二三四五六七八九"
_UNITS = ((10_000, "万"), (1000, "千"), (100, "百"), (10, "十"))
_NUMERAL = _DIGITS + "〇两十百千万亿"
_MOST = 99_999_999  # the largest whose Chinese numeral is looked for


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
