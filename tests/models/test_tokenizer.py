import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as BackendTokenizer

from models.errors import TokenizerError
from models.tokenizer import END_TOKEN, Tokenizer

CORPUS = ["The cat sat on the mat.\n", "你好,世界。再见!\n", "naïve café 🙂 e\u0301\r\n\t"]
CHARACTER = Tokenizer.character(CORPUS, end_token=True)
BYTE_BPE = Tokenizer.byte_bpe(CORPUS * 20, vocab_size=320, end_token=True)
LOWERCASE = Tokenizer.byte_bpe(CORPUS * 20, vocab_size=320, lowercase=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT)
def test_byte_bpe_gives_back_any_text_after_nfc(text: str) -> None:
    assert BYTE_BPE.decode(BYTE_BPE.encode(text)) == unicodedata.normalize("NFC", text)


@given(st.text(st.sampled_from(sorted(set("".join(CORPUS)) - {"\u0301"}))))
def test_characters_of_the_training_text_come_back(text: str) -> None:
    ids = CHARACTER.encode(text)
    assert CHARACTER.decode(ids) == text
    assert len(ids) == len(text)


@given(TEXT)
def test_text_is_the_concatenation_of_token_bytes(text: str) -> None:
    for tokenizer in (CHARACTER, BYTE_BPE):
        ids = tokenizer.encode(text)
        assert b"".join(tokenizer.token_bytes[i] for i in ids).decode() == tokenizer.decode(ids)


@given(TEXT)
def test_no_token_stands_for_more_characters_than_the_bound(text: str) -> None:
    for tokenizer in (CHARACTER, BYTE_BPE):
        assert len(text) <= len(tokenizer.encode(text)) * tokenizer.max_characters_per_token


def test_an_unknown_character_is_unk_and_shows_as_a_replacement() -> None:
    ids = CHARACTER.encode("Z☃")
    assert ids == [CHARACTER.unknown_id, CHARACTER.unknown_id]
    assert CHARACTER.decode(ids) == "\ufffd\ufffd"


@pytest.mark.parametrize("tokenizer", [CHARACTER, BYTE_BPE], ids=["character", "byte-bpe"])
def test_the_end_token_typed_by_a_user_is_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.end_id is not None
    assert tokenizer.end_id not in tokenizer.encode(f"a{END_TOKEN}b")
    assert tokenizer.decode([tokenizer.end_id]) == ""


@pytest.mark.parametrize("tokenizer", [CHARACTER, BYTE_BPE], ids=["character", "byte-bpe"])
def test_a_tokenizer_survives_its_file(tokenizer: Tokenizer) -> None:
    again = Tokenizer.from_json(tokenizer.to_json())
    text = "cat 你好 🙂 <unk>"
    assert again.encode(text) == tokenizer.encode(text)
    assert again.token_bytes == tokenizer.token_bytes
    assert (again.kind, again.end_id, again.unknown_id) == (tokenizer.kind, tokenizer.end_id, tokenizer.unknown_id)


def test_a_lone_surrogate_is_refused_by_name() -> None:
    with pytest.raises(TokenizerError, match=r"'a\\ud800' holds a lone surrogate"):
        BYTE_BPE.encode("a\ud800")


def test_a_vocabulary_too_small_for_bytes_is_refused() -> None:
    with pytest.raises(TokenizerError, match="100 is too small for byte-level BPE: at least 256"):
        Tokenizer.byte_bpe(CORPUS, vocab_size=100)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "normalizer Lowercase changes text beyond NFC"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "pre-tokenizer Whitespace is not supported"),
    ],
)
def test_a_tokenizer_whose_text_is_not_its_bytes_is_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(TokenizerError, match=says):
        Tokenizer.from_json(json.dumps({**json.loads(BYTE_BPE.to_json()), **change}))


def test_a_file_that_is_no_tokenizer_is_refused() -> None:
    with pytest.raises(TokenizerError, match="cannot be read"):
        Tokenizer.from_json("{}")


def test_the_bound_holds_for_the_longest_composition() -> None:
    composed = "\u03b1\u0313\u0300\u0345"  # four code points that NFC makes one, U+1F82
    tokenizer = Tokenizer.character([composed])
    assert len(tokenizer.encode(composed * 10)) == 10
    assert len(composed * 10) <= 10 * tokenizer.max_characters_per_token


@given(TEXT)
def test_a_lowercase_tokenizer_reads_upper_and_lower_case_alike(text: str) -> None:
    ids = LOWERCASE.encode(text)
    assert LOWERCASE.encode(LOWERCASE.decode(ids)) == ids
    if text.isascii():
        assert LOWERCASE.encode(text.upper()) == ids
        assert LOWERCASE.decode(ids) == text.lower()


def test_lowercase_is_known_from_the_file() -> None:
    assert Tokenizer.from_json(LOWERCASE.to_json()).is_lowercase
    assert not Tokenizer.from_json(BYTE_BPE.to_json()).is_lowercase
    assert not CHARACTER.is_lowercase


def test_a_tokenizer_that_strips_accents_is_refused() -> None:
    both = {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "StripAccents"}]}
    with pytest.raises(TokenizerError, match=r"normalizer NFC, StripAccents changes text .* allowed: none, NFC, or"):
        Tokenizer.from_json(json.dumps({**json.loads(BYTE_BPE.to_json()), "normalizer": both}))


@given(st.text(st.characters(max_codepoint=127)), st.booleans())
def test_ascii_is_read_as_the_library_reads_it(text: str, end_token: bool) -> None:
    tokenizer = Tokenizer.character(["To be, or not to be\n", "<eos>"], end_token=end_token)
    assert tokenizer._ascii_ids is not None
    assert tokenizer.encode(text) == tokenizer._backend.encode(text).ids


@pytest.mark.parametrize("change", ["pattern", "mark", "ends", "normalizer"])
def test_a_tokenizer_that_does_not_read_each_character_is_left_to_the_library(change: str) -> None:
    backend = BackendTokenizer.from_str(Tokenizer.character(["ab \n"]).to_json())
    if change == "pattern":
        backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    elif change == "mark":
        backend.add_tokens(["ab"])
    elif change == "ends":
        backend.post_processor = processors.TemplateProcessing(single="a $0", special_tokens=[("a", 1)])
    else:
        backend.normalizer = normalizers.Replace("ab", "b")
    tokenizer = Tokenizer(backend, only_reads=True)
    text = "ab \n\n ab"
    assert tokenizer.encode(text) == backend.encode(text).ids
