from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from models.decoding.stop_strings import StopFilter, StopStrings

SMALL = st.text("abc", max_size=30)
STOPS = st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=5)


def plainly(text: str, stops: list[str]) -> tuple[str, str | None]:
    """The definition: the stop string that is complete first, of those the longest."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            longest = max(found, key=len)
            return text[: end - len(longest)], longest
    return text, None


def filtered(pieces: list[str], stops: list[str]) -> tuple[list[str], str | None]:
    stop_filter = StopFilter(StopStrings(stops))
    shown = []
    for piece in pieces:
        shown.append(stop_filter.push(piece))
        if stop_filter.matched:
            return shown, stop_filter.matched
    return [*shown, stop_filter.finish()], None


def cut(text: str, places: list[int]) -> list[str]:
    bounds = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in pairwise(bounds)]


@given(SMALL, STOPS, st.lists(st.integers(0, 100)))
def test_a_stream_shows_the_whole_answer_however_it_was_cut(text: str, stops: list[str], places: list[int]) -> None:
    expected, matched = plainly(text, stops)
    shown, found = filtered(cut(text, places), stops)
    assert ("".join(shown), found) == (expected, matched)


@given(SMALL, STOPS)
def test_no_more_is_held_back_than_could_become_a_stop_string(text: str, stops: list[str]) -> None:
    stop_filter = StopFilter(StopStrings(stops))
    shown = ""
    for i, character in enumerate(text):
        shown += stop_filter.push(character)
        if stop_filter.matched:
            return
        held = text[len(shown) : i + 1]
        assert text.startswith(shown)
        assert not held or any(stop.startswith(held) for stop in stops)


@given(SMALL, STOPS, st.integers(0, 30))
def test_before_min_tokens_stop_strings_are_text_like_any_other(text: str, stops: list[str], least: int) -> None:
    stop_filter = StopFilter(StopStrings(stops))
    shown = ""
    for i, character in enumerate(text, start=1):
        shown += stop_filter.push(character, may_stop=i >= least)
        if stop_filter.matched:
            assert i >= least
            assert text[:i] == shown + stop_filter.matched
            return
    assert shown + stop_filter.finish() == text


def test_a_half_stop_string_is_shown_at_the_end() -> None:
    assert filtered(["hel", "lo ST"], ["STOP"]) == (["hel", "lo ", "ST"], None)


def test_the_longest_of_those_complete_at_once_is_the_reason() -> None:
    assert filtered(["xaby"], ["b", "ab"]) == (["x"], "ab")


def test_many_long_stop_strings_cost_no_search_per_character() -> None:
    stops = ["a" * 256 + chr(0x100 + i) for i in range(16)]
    stop_filter = StopFilter(StopStrings([stop[:256] for stop in stops]))
    assert stop_filter.push("a" * 255 + "b") == "a" * 255 + "b"
