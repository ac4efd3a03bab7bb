import asyncio

import pytest
from tokenizers import Tokenizer as BackendTokenizer
from tokenizers import normalizers, pre_tokenizers
from tokenizers.models import WordPiece

from models.tokenizer import Tokenizer
from server.admission import num_unknown_of, read_texts
from server.endpoint import Limit
from server.errors import FieldError
from tests.server.running import BYTES, CHARACTERS


def limit(tokens: int) -> Limit:
    return Limit("prompt", tokens, "RNNSERVE_MAX_PROMPT_TOKENS")


def test_the_character_bound_never_refuses_what_the_token_limit_allows() -> None:
    # Three code points that NFC makes one character, so one token: the tightest case of the bound.
    text = "\N{GREEK SMALL LETTER ALPHA}\N{COMBINING COMMA ABOVE}\N{COMBINING GREEK YPOGEGRAMMENI}" * 10 + "a"
    (ids,) = asyncio.run(read_texts([text], CHARACTERS, limit(11)))
    assert len(ids) == 11
    assert num_unknown_of([text], [ids], CHARACTERS) == 10


def test_long_and_short_texts_are_read_alike() -> None:
    short = asyncio.run(read_texts(["to be"], BYTES, limit(100)))
    long = asyncio.run(read_texts(["to be", "x" * 5000], BYTES, limit(5000)))
    assert long[0] == short[0]


def test_the_limit_is_on_each_text() -> None:
    asyncio.run(read_texts(["abc"] * 5, CHARACTERS, limit(3)))
    words = r"prompt 1 has 4 tokens; at most 3 are allowed \(RNNSERVE_MAX_PROMPT_TOKENS\)"
    with pytest.raises(FieldError, match=words):
        asyncio.run(read_texts(["abc", "abcd"], CHARACTERS, limit(3)))


def test_a_text_of_which_the_tokenizer_knows_nothing_is_refused_by_its_place() -> None:
    backend = BackendTokenizer(WordPiece({"[UNK]": 0, "good": 1}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer = Tokenizer(backend, only_reads=True)
    assert asyncio.run(read_texts(["Good", "x" * 5000], tokenizer, limit(1))) == [[1], [0]]
    with pytest.raises(FieldError, match="prompt 1 holds nothing that the model's tokenizer knows"):
        asyncio.run(read_texts(["good", " \n"], tokenizer, limit(1)))
