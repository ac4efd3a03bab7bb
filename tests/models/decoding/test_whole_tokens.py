from hypothesis import given
from hypothesis import strategies as st

from models.decoding.continuation import Continuation
from models.decoding.detokenizer import TokenTexts
from models.decoding.options import GenerationOptions
from models.decoding.stop_strings import StopStrings
from models.decoding.whole_tokens import num_whole_tokens

TEXTS = TokenTexts([b"", *(letter.encode() for letter in "abc"), b"\xe7", b"\x94", b"\x9f", b"ab", b"c\xe7", b"\x9fa"])
END = 0
OF = {content: i for i, content in enumerate(TEXTS.token_bytes)}


def text_of(tokens: list[int]) -> str:
    return b"".join(TEXTS.token_bytes[token] for token in tokens).decode(errors="replace")


@given(st.lists(st.integers(1, len(TEXTS.token_bytes) - 1), max_size=12), st.data())
def test_they_are_the_most_whose_text_begins_what_is_left(tokens: list[int], data: st.DataObject) -> None:
    left = text_of(tokens)[: data.draw(st.integers(0, len(text_of(tokens))))]
    counts = [count for count in range(len(tokens) + 1) if left.startswith(text_of(tokens[:count]))]
    assert num_whole_tokens(TEXTS, tokens, len(left)) == max(counts)


def test_a_character_that_was_cut_off_takes_all_its_tokens_with_it() -> None:
    tokens = [OF[content] for content in (b"a", b"\xe7", b"\x94", b"\x9f", b"b")]
    assert [num_whole_tokens(TEXTS, tokens, length) for length in range(4)] == [0, 1, 4, 5]


@given(
    st.lists(st.integers(0, len(TEXTS.token_bytes) - 1), min_size=1, max_size=12),
    st.lists(st.sampled_from(["a", "ab", "生", "c生a", "\ufffd", "bc"]), max_size=2),
    st.sampled_from(["", "生ab"]),
)
def test_a_continuation_ends_with_the_tokens_that_its_text_holds_whole(
    tokens: list[int], stops: list[str], echo: str
) -> None:
    options = GenerationOptions.model_validate({"max_tokens": len(tokens), "stop": stops})
    row = Continuation(TEXTS, options, StopStrings(stops) if stops else None, END, echo)
    taken = next(count for count, token in enumerate(tokens, start=1) if row.extend([token]))
    text = row.take().removeprefix(echo)
    made = [token for token in tokens[:taken] if token != END]
    whole = row.whole_tokens()
    assert whole == made[: len(whole)]
    assert text.startswith(text_of(whole))
    if row.stop_reason is None:
        assert whole == made
        assert text == text_of(made)
    else:
        assert not any(text.startswith(text_of(made[:count])) for count in range(len(whole) + 1, len(made) + 1))
