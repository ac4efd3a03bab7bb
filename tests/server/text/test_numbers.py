import pytest

from server.text.numbers import missing


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
