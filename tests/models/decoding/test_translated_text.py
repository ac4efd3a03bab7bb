import unicodedata

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.decoding.detokenizer import TokenTexts
from models.decoding.translated_text import TranslatedText, source_pieces
from models.tokenizer import Tokenizer

LETTERS = Tokenizer.character(["abcdefgé"], end_token=True)
BYTES = Tokenizer.byte_bpe(["to be 生存 " * 9], 270, end_token=True)
UNKNOWN = LETTERS.unknown_id
TEXTS = TokenTexts(LETTERS.token_bytes)


def weights(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_an_unknown_token_becomes_the_source_token_it_attends_to_most() -> None:
    ids = [*LETTERS.encode("ab"), UNKNOWN, *LETTERS.encode("c"), UNKNOWN]
    assert UNKNOWN is not None
    sources = source_pieces("x😀y", LETTERS.encode("x😀y"), LETTERS)
    assert sources == ["x", "😀", "y"]
    attention = weights([1, 0, 0, 0], [1, 0, 0, 0], [0.1, 0.6, 0.2, 0.1], [1, 0, 0, 0], [0.1, 0.1, 0.3, 0.5])
    text = TranslatedText(TEXTS, UNKNOWN, sources).whole([i for i in ids if i is not None], attention)
    assert text == "ab😀cy"  # the end token's position, though it has most, stands for no text


def test_without_replacement_an_unknown_token_is_u_fffd() -> None:
    assert UNKNOWN is not None
    assert TranslatedText(TEXTS, None, ["x"]).whole([UNKNOWN], weights([1, 0])) == "\ufffd"
    assert TranslatedText(TEXTS, UNKNOWN, ["x"]).whole([UNKNOWN], np.zeros((0, 2), np.float32)) == "\ufffd"


def test_of_equal_weights_the_first_position_counts() -> None:
    assert UNKNOWN is not None
    assert TranslatedText(TEXTS, UNKNOWN, ["p", "q"]).whole([UNKNOWN], weights([0.5, 0.5, 0])) == "p"


def test_pieces_of_a_character_tokenizer_are_those_after_nfc() -> None:
    text = "e\N{COMBINING ACUTE ACCENT}a"
    assert source_pieces(text, LETTERS.encode(text), LETTERS) == ["é", "a"]


@given(st.text(min_size=1))
def test_there_is_a_piece_for_every_source_token(text: str) -> None:
    for tokenizer in (LETTERS, BYTES):
        ids = tokenizer.encode(text)
        pieces = source_pieces(text, ids, tokenizer)
        assert len(pieces) == len(ids)
    assert "".join(source_pieces(text, LETTERS.encode(text), LETTERS)) == unicodedata.normalize("NFC", text)


@given(st.lists(st.integers(0, BYTES.vocab_size - 1)))
def test_without_unknown_tokens_the_text_is_the_tokenizers(ids: list[int]) -> None:
    text = TranslatedText(TokenTexts(BYTES.token_bytes), None, ["x"]).whole(ids, np.zeros((0, 2), np.float32))
    assert text == BYTES.decode(ids)
