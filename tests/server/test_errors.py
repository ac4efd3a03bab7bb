"""What a message shows of what a client has sent."""

import time

import pytest

from server.errors import MAX_SHOWN, nearest, shown


@pytest.mark.parametrize(
    "text",
    ["", "plain", "生存还是毁灭", "été", "👍🏽", "👨‍👩‍👧", "❤️", "🇨🇭", "日本語のテキスト", "العربية", "a\u0301"],
)
def test_what_can_be_read_is_shown_as_it_is(text: str) -> None:
    assert shown(text) == f"'{text}'"
    assert shown([text]) == f'["{text}"]'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x00\n\t\x7f\x85", r"\x00\n\t\x7f\x85"),
        ("a\u202eb\u2066c\u200ed", r"a\u202eb\u2066c\u200ed"),  # they turn the direction of what follows
        ("\u200b\u200d\ufeff\u00ad\u3164\u2800\ufe0f\u180e", r"\u200b\u200d\ufeff\xad\u3164\u2800\ufe0f\u180e"),
        ("\U000e0041\U000e0100", r"\U000e0041\U000e0100"),
        ("\ud83d\udc4d", r"\ud83d\udc4d"),
        ("\u2028\u2029\u00a0\ue000", r"\u2028\u2029\xa0\ue000"),
        ("back\\slash", r"back\\slash"),
    ],
)
def test_what_cannot_be_seen_is_shown_as_its_escape(text: str, expected: str) -> None:
    assert shown(text) == f"'{expected}'"
    shown(text).encode()
    shown({text: [text]}).encode()
    assert shown({text: [text]}).isprintable()


def test_quotes_of_a_text_do_not_end_it() -> None:
    assert shown("it's") == '''"it's"'''
    assert shown("""it's "so" """) == r"""'it\'s "so" '"""


@pytest.mark.parametrize("value", ["生" * 1000, "\u202e" * 1000, ["👍" * 50] * 50, {"\x00" * 99: 1}, [[1] * 9] * 9000])
def test_of_a_long_value_the_beginning_is_shown(value: object) -> None:
    assert len(shown(value)) == MAX_SHOWN


def test_a_name_that_is_like_a_known_one_is_named() -> None:
    known = ["temperature", "top_k", "max_tokens"]
    assert nearest("temprature", known) == " Did you mean temperature?"
    assert nearest("MAX_TOKENS", known) == " Did you mean max_tokens?"
    assert nearest("max_new_tokens", known) == " Did you mean max_tokens?"
    for name in ("", "prompt", "t" * 1000, 7, None):
        assert nearest(name, known) == ""


def test_to_compare_names_takes_no_long_time_whatever_they_are() -> None:
    started = time.process_time()
    for _ in range(10):
        nearest("ab" * 24, ["ba" * 24 + "a" * (i % 3) for i in range(10_000)])
    assert (time.process_time() - started) / 10 < 0.02
