"""Words as the ids that a tagger reads: the tokenizer's own id of each token and further fields, in mixed radix.

A field says something of a token that its id alone does not: its last or first letters, its shape, the token after it.
What a field's values are is decided in training and kept with the model. Knows nothing of networks.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.config import FrozenModel
from models.tokenizer import Tokenizer
from models.words import Span, WordSplitter

FieldKind = Literal["suffix-2", "suffix-4", "prefix-3", "shape", "next"]
_CACHED, _LONGEST = 50_000, 32  # tokens whose fields are remembered, for each model, of so many characters at most
_DIGIT = re.compile(r"\d")


class WordField(FrozenModel):
    """One field of a token.

    Attributes:
        kind: "suffix-n" and "prefix-n" are the longest known ones of at most n letters, in lower case with 0 for every
            digit; "shape" is that of its letters; "next" is the token and the one after it, "" after the last.
        values: those that are known, numbered from 1; anything else is 0.
    """

    kind: FieldKind
    values: list[str]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Each value's number."""
        return {value: number for number, value in enumerate(self.values, 1)}

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return len(self.values) + 1


class WordsRecord(FrozenModel):
    """How a tagging model reads text: its splitter, and the fields of a token beside the token itself."""

    splitter: WordSplitter = WordSplitter()
    fields: list[WordField] = Field(default_factory=list)


class Encoded(NamedTuple):
    """The tokens of one sentence.

    Attributes:
        ids: of each token, its fields in mixed radix; what the graph reads.
        words: of each token, which word it is of; -1: a mark around the text.
        spans: of each token, its characters within its word.
    """

    ids: list[int]
    words: list[int]
    spans: list[Span]

    @property
    def firsts(self) -> list[int]:
        """Of each word that has a token, its first."""
        return [i for i, word in enumerate(self.words) if word >= 0 and (not i or word != self.words[i - 1])]


class WordEncoder:
    """A tokenizer and fields together, and the splitter of raw text.

    Args:
        tokenizer: reads each word on its own.
        record: splitter and fields.
    """

    def __init__(self, tokenizer: Tokenizer, record: WordsRecord) -> None:
        self.splitter = record.splitter
        self._tokenizer = tokenizer
        self._fields = record.fields
        self._own = [field for field in record.fields if field.kind != "next"]
        self._numbers = lru_cache(_CACHED)(self._own_numbers)

    def encode(self, words: Sequence[str]) -> Encoded:
        """The tokens of a sentence; a word of which the tokenizer knows nothing may have none.

        Raises:
            TokenizerError: a word holds a lone surrogate, which is not text.
        """
        ids, of_words, spans = self._tokenizer.encode_words(words)
        if not self._fields:
            return Encoded(ids, of_words, spans)
        tokens = [words[word][start:end] for word, (start, end) in zip(of_words, spans, strict=True)]
        packed = []
        for i, token in enumerate(tokens):
            own = iter((self._numbers if len(token) <= _LONGEST else self._own_numbers)(token))
            numbers = [
                self._next_number(field, tokens, i) if field.kind == "next" else next(own) for field in self._fields
            ]
            value = 0
            for field, number in zip(reversed(self._fields), reversed(numbers), strict=True):
                value = value * field.size + number
            packed.append(value * self._tokenizer.vocab_size + ids[i])
        return Encoded(packed, of_words, spans)

    def without_next(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The ids [any] with the field "next" unknown: what a model reads that is to guess the next token."""
        stride = self._tokenizer.vocab_size
        for field in self._fields:
            if field.kind == "next":
                ids = ids - ids // stride % field.size * stride
            stride *= field.size
        return ids

    def _own_numbers(self, token: str) -> tuple[int, ...]:
        """Of the fields that look at the token alone."""
        return tuple(
            next(filter(None, map(field.numbers.get, candidates(field.kind, token))), 0) for field in self._own
        )

    @staticmethod
    def _next_number(field: WordField, tokens: Sequence[str], i: int) -> int:
        return field.numbers.get(tokens[i] + (tokens[i + 1] if i + 1 < len(tokens) else ""), 0)


def candidates(kind: FieldKind, token: str) -> Iterator[str]:
    """The values that a field looks for in a token, the best first."""
    if kind == "shape":
        yield shape(token)
        return
    side, most = kind.split("-")
    plain = _DIGIT.sub("0", token.lower())
    for length in range(min(int(most), len(plain)), 0, -1):
        yield plain[-length:] if side == "suffix" else plain[:length]


def shape(token: str) -> str:
    """What a token is written with: "a" lower case, "A" upper case, "Aa" a capital first, digits, signs, mixtures."""
    letters = [character for character in token if character.isalpha()]
    has_digit = any(character.isdigit() for character in token)
    if not letters:
        return f"0{min(len(token), 5)}" if token.isdigit() else "0." if has_digit else "."
    if all(character.islower() for character in letters):
        kind = "a"
    elif all(character.isupper() for character in letters):
        kind = "A" if len(letters) > 1 else "A1"
    elif token[0].isupper() and all(character.islower() for character in letters[1:]):
        kind = "Aa"
    else:
        kind = "x" if not any(character.isupper() for character in letters) else "aA"
    return kind + ("0" if has_digit else "") + ("" if token.isalnum() else ".")


def learnt_field(kind: FieldKind, sentences: Iterable[Sequence[str]], least: int) -> WordField:
    """A field whose values occur in the sentences so often at least, the most frequent first.

    Args:
        kind: of the field.
        sentences: tokens.
        least: how often.
    """
    counts: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for sentence in sentences:
        if kind == "next":
            counts.update(a + b for a, b in zip(sentence, [*sentence[1:], ""], strict=True))
        else:
            tokens.update(sentence)
    for token, count in tokens.items():
        for value in candidates(kind, token):
            counts[value] += count
    kept = sorted((value for value, count in counts.items() if count >= least), key=lambda v: (-counts[v], v))
    return WordField(kind=kind, values=kept)
