import pytest

from server.text.numbers import invented, missing, signs_lost


@pytest.mark.parametrize(
    ("source", "translation", "lacking"),
    [
        ("In 1987 I paid 1,250 francs.", "1987年我付了1250法郎。", []),
        ("I have 2 cats and 12 dogs.", "我有两只猫和十二条狗。", []),
        ("25 of 104", "一百零四人中的二十五人", []),
        ("20000 people, 2500 cars", "2万人，两千五百辆车", []),
        ("room 304, at 3:30", "三十四号房间，3:30", ["304"]),
        ("in 1905", "在一九〇五年", []),
        ("10 and 10", "十", ["10"]),
        ("5.5 and 12/3", "5.5 / 12/3", []),
        ("x²", "x", []),
        ("no number", "没有", []),
    ],
)
def test_numbers_are_found_in_digits_and_as_chinese_numerals(source: str, translation: str, lacking: list[str]) -> None:
    assert [number[0] for number in missing(source, translation)] == lacking


@pytest.mark.parametrize(
    ("source", "translation", "expected"),
    [
        ("The number is 1,234,567.", "3年1,234,567年。", ["3"]),
        ("There are 1,234,567 people.", "1656岁，12219216", ["1656", "12219216"]),
        ("He came at 3 p.m. on May 5, 1985.", "他1985年5月5日15点来了。", []),
        ("I have two hundred and twenty-five dogs.", "我有225只狗。", []),
        ("ten thousand people, 20000 cars", "1万人，2万辆车", []),
        ("nineteen eighty-four", "1984", ["1984"]),
        ("on the twelfth of June at half past three", "6月12日3:30", []),
        ("at 3 and 30", "3:30", []),
        ("I love you.", "我爱你。", []),
    ],
)
def test_numbers_that_the_source_has_not_are_found(source: str, translation: str, expected: list[str]) -> None:
    assert invented(source, translation, "en") == expected


@pytest.mark.parametrize(
    ("source", "translation", "expected"),
    [
        ("It costs 50%.", "花了50年。", [("50%", "", "%", "50")]),
        ("It costs 50%.", "花了百分之50。", []),
        ("I paid $5.99 and €20.", "我付了5.99美元和20。", [("€20", "€", "", "20")]),
        ("It is -5.5°C.", "是5.5。", [("-5.5°C", "-", "°C", "5.5")]),
        ("It is -5.5 °C.", "零下5.5度。", []),
        ("It is 30° outside.", "外面三十岁。", [("30°", "", "°", None)]),
        ("Call 555-0199 in 2004-2005.", "555-0199", []),
    ],
)
def test_signs_that_are_not_at_their_numbers_are_found(
    source: str, translation: str, expected: list[tuple[str, str, str, str | None]]
) -> None:
    found = signs_lost(source, translation)
    assert [(sign.text, sign.before, sign.after, sign.at and sign.at[0]) for sign in found] == expected
