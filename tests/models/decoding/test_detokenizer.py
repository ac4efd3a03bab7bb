from hypothesis import given
from hypothesis import strategies as st

from models.decoding.detokenizer import Detokenizer, TokenTexts
from models.tokenizer import Tokenizer

TEXT = "To be, or not to be 生存还是毁灭，这是个问题。😀👩‍👩‍👧 naïve café\n" * 3
BPE = Tokenizer.byte_bpe([TEXT], 300)
SINGLE_BYTES = TokenTexts([bytes([byte]) for byte in range(256)])


@given(st.lists(st.integers(0, BPE.vocab_size - 1), max_size=60))
def test_pieces_joined_are_the_whole_decoded_at_once(ids: list[int]) -> None:
    detokenizer = Detokenizer(TokenTexts(BPE.token_bytes))
    pieces = [detokenizer.push(token) for token in ids]
    assert "".join(pieces) + detokenizer.finish() == BPE.decode(ids)


@given(st.text(max_size=40) | st.text("生😀é\u0301a", max_size=40), st.binary(max_size=5))
def test_any_bytes_one_at_a_time_decode_as_python_does(text: str, noise: bytes) -> None:
    for content in (text.encode() + noise, noise + text.encode()):
        detokenizer = Detokenizer(SINGLE_BYTES)
        pieces = [detokenizer.push(byte) for byte in content]
        assert "".join(pieces) + detokenizer.finish() == content.decode("utf-8", errors="replace")


def test_a_character_is_shown_when_it_is_whole() -> None:
    detokenizer = Detokenizer(SINGLE_BYTES)
    assert [detokenizer.push(byte) for byte in "生a".encode()] == ["", "", "生", "a"]


def test_a_character_cut_at_the_end_becomes_one_replacement() -> None:
    detokenizer = Detokenizer(SINGLE_BYTES)
    assert [detokenizer.push(byte) for byte in "😀".encode()[:3]] == ["", "", ""]
    assert detokenizer.finish() == "\ufffd"
    assert detokenizer.finish() == ""


def test_end_token_adds_nothing_and_unknown_is_shown() -> None:
    tokenizer = Tokenizer.character(["abc"], end_token=True)
    assert tokenizer.end_id is not None
    assert tokenizer.unknown_id is not None
    detokenizer = Detokenizer(TokenTexts(tokenizer.token_bytes))
    assert detokenizer.push(tokenizer.end_id) == ""
    assert detokenizer.push(tokenizer.unknown_id) == "\ufffd"


@given(st.lists(st.lists(st.integers(0, BPE.vocab_size - 1), max_size=8), max_size=8))
def test_tokens_given_together_make_the_text_of_one_after_the_other(pieces: list[list[int]]) -> None:
    together, alone = Detokenizer(TokenTexts(BPE.token_bytes)), Detokenizer(TokenTexts(BPE.token_bytes))
    for ids in pieces:
        assert together.push_all(ids) == "".join([alone.push(token) for token in ids])
        assert together.unfinished == alone.unfinished
