import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import TokenizerError
from models.tokenizer import Tokenizer
from models.word_ids import FieldKind, WordEncoder, WordField, WordsRecord, learnt_field, shape

SENTENCES = [["Walking", "cats", "walked", "42", "miles"], ["the", "cats", "talked", "!"]]
TOKENIZER = Tokenizer.word_level(["the", "cats", "00", "!"])


KINDS: tuple[FieldKind, ...] = ("suffix-2", "suffix-4", "prefix-3", "next", "shape")


def encoder() -> WordEncoder:
    return WordEncoder(TOKENIZER, WordsRecord(fields=[learnt_field(kind, SENTENCES, 1) for kind in KINDS]))


def unpacked(number: int, sizes: list[int]) -> list[int]:
    found = []
    for size in sizes:
        found.append(number % size)
        number //= size
    assert number == 0
    return found


def test_an_id_is_its_fields_in_mixed_radix() -> None:
    fields = [learnt_field(kind, SENTENCES, 1) for kind in ("suffix-4", "shape", "next")]
    found = WordEncoder(TOKENIZER, WordsRecord(fields=fields)).encode(["THE", "stalked", "17"])
    sizes = [TOKENIZER.vocab_size, *(field.size for field in fields)]
    first, second, third = (unpacked(number, sizes) for number in found.ids)
    assert first[0] == TOKENIZER.encode_words(["the"])[0][0]
    assert second[0] == 0, "not known"
    assert fields[0].values[second[1] - 1] == "lked"
    assert fields[1].values[second[2] - 1] == "a"
    assert third[0] == TOKENIZER.encode_words(["42"])[0][0], "digits are all alike"
    assert [first[3], second[3], third[3]] == [0, 0, 0], "no such pair was seen"
    assert found.firsts == [0, 1, 2]


@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=6))
def test_a_words_own_fields_do_not_depend_on_the_rest_of_the_sentence(words: list[str]) -> None:
    record = WordsRecord(fields=[learnt_field(kind, SENTENCES, 1) for kind in ("suffix-2", "prefix-3", "shape")])
    together = WordEncoder(TOKENIZER, record).encode(words)
    alone = [WordEncoder(TOKENIZER, record).encode([word]).ids for word in words]
    assert together.ids == [number for ids in alone for number in ids]


def test_a_word_of_several_tokens_says_which_they_are() -> None:
    found = WordEncoder(Tokenizer.character(["abc"]), WordsRecord()).encode(["ab", "c", "a"])
    assert (found.words, found.spans, found.firsts) == ([0, 0, 1, 2], [(0, 1), (1, 2), (0, 1), (0, 1)], [0, 2, 3])


def test_the_next_token_makes_pairs() -> None:
    field = learnt_field("next", [["a", "b"], ["b"]], 1)
    assert sorted(field.values) == ["ab", "b"]
    found = WordEncoder(Tokenizer.character(["ab"]), WordsRecord(fields=[field])).encode(["a", "b"])
    assert [field.values[number // 3 - 1] for number in found.ids] == ["ab", "b"]


def test_who_is_to_guess_the_next_token_does_not_read_it() -> None:
    sizes = [TOKENIZER.vocab_size, *(learnt_field(kind, SENTENCES, 1).size for kind in KINDS)]
    ids = encoder().encode(["walked", "42", "miles", "!"]).ids
    hidden = encoder().without_next(np.array(ids)).tolist()
    assert any(unpacked(number, sizes)[-2] for number in ids)
    assert [unpacked(number, sizes) for number in hidden] == [
        [*unpacked(number, sizes)[:-2], 0, unpacked(number, sizes)[-1]] for number in ids
    ]


@pytest.mark.parametrize(
    ("token", "expected"),
    [("cat", "a"), ("Cat", "Aa"), ("CAT", "A"), ("C", "A1"), ("McCat", "aA"), ("2001", "04"), ("3.5", "0."), ("?", "."),
     ("a1", "a0"), ("n't", "a."), ("你", "x")],
)  # fmt: skip
def test_a_shape_says_how_a_word_is_written(token: str, expected: str) -> None:
    assert shape(token) == expected


def test_values_are_the_frequent_ones() -> None:
    assert learnt_field("suffix-2", SENTENCES, 2).values == ["s", "d", "ed", "ts"]


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(TokenizerError, match="lone surrogate"):
        encoder().encode(["a\ud800"])


def test_a_record_comes_back_from_json() -> None:
    record = WordsRecord(fields=[WordField(kind="shape", values=["a"])])
    assert WordsRecord.model_validate_json(record.model_dump_json()) == record
