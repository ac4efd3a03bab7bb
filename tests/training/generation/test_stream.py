import pytest

from models.errors import DataError
from models.tokenizer import Tokenizer
from training.generation.windows import num_characters, stream_from_documents


def test_ends_stand_before_the_first_document_and_after_each() -> None:
    tokenizer = Tokenizer.character(["ab"], end_token=True)
    ids = stream_from_documents(["ab", "b"], tokenizer, has_ends=True)
    end, (a, b) = tokenizer.end_id, tokenizer.encode("ab")
    assert ids.tolist() == [end, a, b, end, b, end]
    assert num_characters(ids[1:], tokenizer) == 5


def test_without_ends_the_stream_is_the_text() -> None:
    tokenizer = Tokenizer.character(["abc"])
    ids = stream_from_documents(["cab"], tokenizer, has_ends=False)
    assert tokenizer.decode(ids.tolist()) == "cab"


def test_characters_of_bpe_tokens_are_counted_as_text() -> None:
    text = "the the the the 海 " * 30
    tokenizer = Tokenizer.byte_bpe([text], 270)
    ids = stream_from_documents([text], tokenizer, has_ends=False)
    assert len(ids) < len(text)
    assert num_characters(ids, tokenizer) == len(text)


def test_a_stream_of_one_token_is_refused() -> None:
    with pytest.raises(DataError, match="gives 1 tokens; at least 2"):
        stream_from_documents(["a"], Tokenizer.character(["a"]), has_ends=False)
