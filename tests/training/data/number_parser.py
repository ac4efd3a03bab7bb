"""Number words read back, written without a look at how they are made: positions and sums, no groups."""

import re

ENGLISH = {
    **{
        word: i
        for i, word in enumerate(
            ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
        )
    },
    "thirteen": 13,
    "fifteen": 15,
    "eighteen": 18,
    **{f"{word}teen": i for word, i in (("four", 14), ("six", 16), ("seven", 17), ("nine", 19))},
    "twenty": 20,
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "seventy": 70,
    "eighty": 80,
    "ninety": 90,
}
UNITS = {"十": 10, "百": 100, "千": 1000}


def number_of_english(words: str) -> int:
    total = group = 0
    for word in re.split(r"[ -]", words):
        if word in ENGLISH:
            group += ENGLISH[word]
        elif word == "hundred":
            group *= 100
        elif word in ("thousand", "million"):
            total += group * (1000 if word == "thousand" else 10**6)
            group = 0
        else:
            assert word == "and", word
    return total + group


def number_of_chinese(words: str) -> int:
    total = group = 0
    digit: int | None = None
    for character in words:
        if character in UNITS:
            group += (1 if digit is None else digit) * UNITS[character]
            digit = None
        elif character == "万":
            total, group, digit = (group + (digit or 0)) * 10_000, 0, None
        else:
            digit = "零一二三四五六七八九".index(character)
    return total + group + (digit or 0)
