"""Whole numbers in English and in Chinese words: a translation task whose right answers are known exactly."""

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
