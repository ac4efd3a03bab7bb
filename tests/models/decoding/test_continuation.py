import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.decoding.continuation import Continuation
from models.decoding.detokenizer import TokenTexts
from models.decoding.options import GenerationOptions
from models.decoding.stop_strings import StopStrings

LETTERS = TokenTexts([b"", *(letter.encode() for letter in "abcde"), b"\xe7", b"\x94", b"\x9f", b"ab", b"cde"])
END = 0
OF = {content: i for i, content in enumerate(LETTERS.token_bytes)}


def continuation(**options: object) -> Continuation:
    checked = GenerationOptions.model_validate(options)
    return Continuation(LETTERS, checked, StopStrings(checked.stop) if checked.stop else None, END)


def feed(row: Continuation, *contents: bytes) -> list[str]:
    shown = []
    for content in contents:
        is_over = row.extend([OF[content]])
        shown.append(row.take())
        if is_over:
            break
    return shown


def test_end_token_stops_counts_and_shows_nothing() -> None:
    row = continuation()
    assert feed(row, b"a", b"", b"b") == ["a", ""]
    assert (row.finish_reason, row.stop_reason, row.num_tokens) == ("stop", None, 2)


def test_max_tokens_ends_by_length_and_shows_what_was_held_back() -> None:
    row = continuation(max_tokens=2, stop="bc")
    assert feed(row, b"a", b"b", b"c") == ["a", "b"]
    assert (row.finish_reason, row.num_tokens) == ("length", 2)


def test_stop_string_on_the_last_allowed_token_is_a_stop() -> None:
    row = continuation(max_tokens=2, stop="ab")
    assert feed(row, b"a", b"b") == ["", ""]
    assert (row.finish_reason, row.stop_reason) == ("stop", "ab")


def test_stop_string_inside_a_token_hides_the_rest_of_it() -> None:
    row = continuation(stop=["d"])
    assert feed(row, b"a", b"cde", b"b") == ["a", "c"]
    assert (row.stop_reason, row.num_tokens) == ("d", 2)


def test_a_character_cut_by_max_tokens_is_a_replacement() -> None:
    row = continuation(max_tokens=2)
    assert feed(row, b"\xe7", b"\x94", b"\x9f") == ["", "\ufffd"]


def test_a_replacement_at_the_end_can_complete_a_stop_string() -> None:
    row = continuation(max_tokens=2, stop="\ufffd")
    assert feed(row, b"a", b"\xe7") == ["a", ""]
    assert (row.finish_reason, row.stop_reason) == ("stop", "\ufffd")


def test_stop_strings_do_not_stop_before_min_tokens() -> None:
    row = continuation(min_tokens=3, stop="b")
    assert feed(row, b"a", b"b", b"b", b"a") == ["a", "", "b"]
    assert row.num_tokens == 3
    assert row.stop_reason == "b"


@given(
    st.lists(st.integers(0, len(LETTERS.token_bytes) - 1), min_size=1, max_size=30),
    st.lists(st.sampled_from(["a", "ab", "bcd", "生", "\ufffd", "生a", "ea"]), max_size=3),
    st.integers(1, 30),
    st.data(),
)
def test_streamed_text_is_the_whole_text_and_ends_at_the_first_reason(
    tokens: list[int], stops: list[str], max_tokens: int, data: st.DataObject
) -> None:
    options = {"stop": stops, "max_tokens": max_tokens, "min_tokens": data.draw(st.integers(0, max_tokens))}
    streamed, whole = continuation(**options), continuation(**options)
    shown = ""
    for token in tokens:
        is_over = streamed.extend([token])
        assert whole.extend([token]) == is_over
        if data.draw(st.booleans()):
            shown += streamed.take()
        if is_over:
            break
    shown += streamed.take()
    assert shown == whole.take()
    used = tokens[: streamed.num_tokens]
    if streamed.stop_reason is None and streamed.finish_reason:
        assert shown == b"".join(LETTERS.token_bytes[i] for i in used).decode(errors="replace")
    if streamed.finish_reason == "length":
        assert streamed.num_tokens == max_tokens


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("stop", ["a"] * 17, "at most 16"),
        ("stop", "", "1 to 256"),
        ("stop", "x" * 257, "1 to 256"),
        ("stop", [1], "string or a list"),
        ("stop", {"a": 1}, "string or a list"),
        ("min_tokens", 300, "256"),
        ("temperature", 10.5, "10"),
        ("top_p", 0, "greater than 0"),
        ("n", 17, "16"),
        ("seed", 2**63, "9223372036854775807"),
        ("n", 1.0, "integer"),
        ("n", True, "integer"),
    ],
)
def test_options_say_what_is_allowed(field: str, value: object, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        GenerationOptions.model_validate({field: value})
