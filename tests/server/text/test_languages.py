import pytest

from server.text.languages import detect, language_code, main_script, mismatch


@pytest.mark.parametrize(
    ("given", "code"),
    [("en", "en"), ("EN", "en"), ("en-US", "en"), ("zh-CN", "zh"), ("zh_Hans", "zh"), ("zh-Hans-CN", "zh")],
)
def test_codes_are_those_that_models_have(given: str, code: str) -> None:
    assert language_code(given) == code


@pytest.mark.parametrize("given", ["", "e", "english", "zh_", "en US", "ｅｎ", "1a"])
def test_what_is_no_code_is_refused_in_a_sentence(given: str) -> None:
    with pytest.raises(ValueError, match="must be a language code of two letters"):
        language_code(given)


def test_traditional_chinese_is_not_what_models_of_zh_write() -> None:
    assert {language_code(given) for given in ("zh-TW", "zh_Hant", "zh-HK")} == {"zh-Hant"}


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Where is the station?", "en"),
        ("Wo ist der Bahnhof, bitte?", "de"),
        ("Je ne sais pas où est la gare.", "fr"),
        ("今天天气很好", "zh"),
        ("今日はとても良い天気です", "ja"),
        ("오늘 날씨가 좋네요", "ko"),
        ("Где находится вокзал?", "ru"),
        ("אני אוהב אותך", "he"),
    ],
)
def test_the_language_of_a_text_is_found(text: str, language: str) -> None:
    found = detect(text)
    assert found is not None
    assert found.language == language
    assert 0.5 < found.confidence <= 1


def test_a_short_text_is_in_a_language_that_is_served() -> None:
    for text in ("Tom", "OK", "Hello world", "hola", "No problem"):
        found = detect(text, {"en", "zh"})
        assert found is not None
        assert found.language == "en"


def test_a_text_without_letters_has_no_language() -> None:
    for text in ("", "42", "😀!", "  "):
        assert (main_script(text), detect(text), mismatch(text, "en")) == (None, None, None)


def test_only_what_is_certain_is_another_language() -> None:
    for text in ("Tom", "Bonjour!", "I am Jean-Claude from Paris.", "c'est la vie, as we say here in London"):
        assert mismatch(text, "en") is None
    assert [mismatch(text, "en") is not None for text in ("Das Haus ist klein und alt.", "你好", "Привет")] == [
        True
    ] * 3
    found = mismatch("The house is small and old.", "zh")
    assert found is not None
    assert found.language == "en"
    assert mismatch("漢字とかな", "zh") is not None
