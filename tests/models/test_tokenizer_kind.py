"""Tokenizers made elsewhere: what may write, what may only read, and what each id adds to a text."""

from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import Regex, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

from models.errors import TokenizerError
from models.tokenizer import Tokenizer
from tests.models.backends import unigram, with_ends

TEXTS = ["the film was good.", "das war nichts: 42 mal 7!"] * 4
MARKS = ["<pad>", "<s>", "</s>"]
ALPHABET = pre_tokenizers.ByteLevel.alphabet()


def byte_bpe(**options: Any) -> Backend:
    """As people make them: marks among the tokens, digits apart, a mark in front of every text."""
    backend = Backend(models.BPE(**options))
    digits = pre_tokenizers.Digits(individual_digits=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=MARKS, initial_alphabet=ALPHABET, show_progress=False)
    backend.train_from_iterator(TEXTS, trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return backend


def characters(pattern: str) -> Backend:
    tokens = ["[UNK]", "</s>", *sorted(set("".join(TEXTS)))]
    backend = Backend(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return backend


def word_piece() -> Backend:
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = ["[UNK]", "[CLS]", "[SEP]"]
    backend.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=90, special_tokens=marks, show_progress=False)
    )
    return with_ends(backend, "[CLS]", "[SEP]")


def pieces() -> Backend:
    return unigram(TEXTS)


def test_byte_level_bpe_made_elsewhere_writes_text_and_its_marks_add_none() -> None:
    tokenizer = Tokenizer.from_json(byte_bpe().to_str(), end_token="</s>")
    text = "Good? 42 — 好 </s>"
    ids = tokenizer.encode(text)
    assert ids[0] == 1  # the mark in front, as the model was trained
    assert tokenizer.end_id == 2
    assert tokenizer.end_id not in ids  # what a user types is text
    assert tokenizer.decode([*ids, 2, 0]) == text
    assert (tokenizer.kind, tokenizer.unknown_id) == ("byte-bpe", None)


@pytest.mark.parametrize("pattern", [r"[\s\S]", "", "(?m)."])
def test_characters_split_by_any_pattern_write_text(pattern: str) -> None:
    tokenizer = Tokenizer.from_json(characters(pattern).to_str(), end_token="</s>")
    ids = tokenizer.encode("good film☃")
    assert (tokenizer.kind, tokenizer.end_id, tokenizer.unknown_id) == ("character", 1, 0)
    assert tokenizer.decode([*ids, 1]) == "good film\ufffd"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (word_piece, "normalizer BertNormalizer changes text"),
        (pieces, r"Unigram with pre-tokenizer Metaspace is not supported \(Unigram \(SentencePiece\)"),
        (lambda: byte_bpe(dropout=0.1), r"has dropout=0\.1"),
    ],
)
def test_what_cannot_write_is_refused_by_name(make: Callable[[], Backend], says: str) -> None:
    with pytest.raises(TokenizerError, match=says):
        Tokenizer.from_json(make().to_str())


def test_word_piece_without_a_normalizer_is_refused_with_the_reason() -> None:
    backend = word_piece()
    backend.normalizer = None
    with pytest.raises(TokenizerError, match="WordPiece marks the inside of words and loses the spaces"):
        Tokenizer.from_json(backend.to_str())


def test_a_pre_tokenizer_that_removes_is_refused() -> None:
    backend = byte_bpe()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", behavior="removed"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    with pytest.raises(TokenizerError, match="pre-tokenizer Split removes what it matches"):
        Tokenizer.from_json(backend.to_str())


def test_a_word_among_characters_is_refused_unless_it_is_a_mark() -> None:
    backend = Backend(models.WordLevel({"[UNK]": 0, "a": 1, "[PAD]": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    with pytest.raises(TokenizerError, match=r"'\[PAD\]' has several characters"):
        Tokenizer.from_json(backend.to_str())
    backend.add_special_tokens(["[PAD]"])
    assert Tokenizer.from_json(backend.to_str()).decode([1, 2, 1]) == "aa"


@pytest.mark.parametrize(("make", "kind"), [(word_piece, "wordpiece"), (pieces, "unigram")])
def test_a_tokenizer_that_only_reads_may_be_of_any_kind(make: Callable[[], Backend], kind: str) -> None:
    backend = make()
    backend.enable_truncation(5)
    backend.enable_padding(length=32)
    tokenizer = Tokenizer.from_json(backend.to_str(), only_reads=True)
    assert tokenizer.kind == kind
    backend.no_padding()
    assert tokenizer.encode(TEXTS[1]) == backend.encode(TEXTS[1]).ids
    assert len(tokenizer.encode("x" * 100_000)) <= 5 <= tokenizer.max_characters_per_token


def test_padding_and_truncation_of_a_tokenizer_that_writes_are_off() -> None:
    backend = byte_bpe()
    backend.enable_truncation(3)
    backend.enable_padding(length=64)
    tokenizer = Tokenizer.from_json(backend.to_str())
    assert tokenizer.decode(tokenizer.encode("the film was good.")) == "the film was good."
