import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.data.number_parser import number_of_chinese, number_of_english
from training.data.numbers import LARGEST, chinese, english

NUMBERS = st.one_of(st.integers(0, LARGEST), st.integers(0, 9999), st.integers(0, 99).map(lambda n: n * 10**6 // 7))


@given(NUMBERS)
def test_words_read_back_are_the_number(number: int) -> None:
    assert number_of_english(english(number)) == number
    assert number_of_chinese(chinese(number)) == number


@given(NUMBERS)
def test_chinese_has_no_zero_twice_none_at_the_end_and_none_before_a_group(number: int) -> None:
    words = chinese(number)
    assert "零零" not in words
    assert number == 0 or not words.endswith("零")
    assert "零万" not in words
    assert not re.match("一十|零.", words)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "零"),
        (10, "十"),
        (12, "十二"),
        (110, "一百一十"),
        (305, "三百零五"),
        (1010, "一千零一十"),
        (1005, "一千零五"),
        (20010, "二万零一十"),
        (100010, "十万零一十"),
        (120300, "十二万零三百"),
        (1001000, "一百万一千"),
        (10010000, "一千零一万"),
        (99999999, "九千九百九十九万九千九百九十九"),
    ],
)
def test_chinese_zero_rules(number: int, words: str) -> None:
    assert chinese(number) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (305, "three hundred and five"),
        (1042, "one thousand and forty-two"),
        (1100, "one thousand one hundred"),
        (1000005, "one million and five"),
    ],
)
def test_english_ands_and_hyphens(number: int, words: str) -> None:
    assert english(number) == words
