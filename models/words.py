"""Text as words, for models that label each word: where words begin and end, and where a sentence ends.

The rules are those of Universal Dependencies for English and close to what other languages with spaces do: punctuation
stands alone, "don't" is do and n't. What a training set does otherwise in a way that repeats ("cannot" is can and not,
"e-mail" is one word) is learnt from it and kept with the model. Knows nothing of tokens and labels.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, takewhile
from typing import Annotated, Literal

from pydantic import Field

from models.config import FrozenModel

Span = tuple[int, int]  # first character and the one after the last
SplitterKind = Literal["words", "characters", "whitespace"]

_ABBREVIATIONS = (
    "mr|mrs|ms|dr|st|jr|sr|vs|etc|prof|gen|sen|rep|gov|inc|corp|co|ltd|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec"
)
_PREFIXES = "e|non|co|pre|anti|re|un|inter|multi|semi|mis|post|sub|counter|pro|mid"
# Repetitions before a sign that may be missing have a bound, or a long text would be read again from each character.
_WORD = re.compile(
    rf"""
    (?:https?://|www\.)[^\s<>"]{{0,2000}}[^\s<>".,;:!?)\]']
    | [\w.+-]{{1,64}}@[\w-]{{1,64}}(?:\.[\w-]{{1,64}})+
    | [:;=8][-o^']?[)(\]\[DPp/\\|](?!\w)            # :-)
    | (?:[^\W\d_]\.){{2,}}                          # U.S.
    | (?:{_ABBREVIATIONS})\.(?=\s|$)
    | (?-i:[A-HJ-Z])\.(?=\s+(?-i:[A-Z]))            # W., before a name
    | [^\W_]{{2,64}}(?:\.[^\W_]{{2,64}})+               # report.pdf
    | (?:{_PREFIXES})-[^\W_]+                       # non-profit
    | \d{{3}}-(?:\d{{3}}-)?\d{{4}}(?!\d)                # a telephone number
    | \d+(?:/\d+){{2,}}                               # a date
    | \d+(?:[.,:]\d+)+                              # 1,000.50
    | [@\#][^\W\d]\w*
    | [^\W_]+?(?=n['’]t(?!\w))                      # do, before n't
    | n['’]t(?!\w)
    | ['’](?:s|re|ve|ll|d|m)(?!\w)
    | (?:[^\W_]|[\u0300-\u036f])+
    | \.\.+ | [!?]+ | [-_*=~+\#<>]{{2,}} | \$+
    | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CHUNK = re.compile(r"\S+")
_EDGE = "\"'“”‘’()[]{}<>.,;:!?…-*"
_ENDS = frozenset(".!?。！？…")  # what a word that ends a sentence consists of
_CLOSING = frozenset("\"'”’)]}」』）】")
_LEAST = 2  # how often a training set must do otherwise


class WordSplitter(FrozenModel):
    """How raw text becomes words: "words" by the rules and exceptions, each character, or what spaces separate."""

    kind: SplitterKind = "words"
    # Of a chunk of text without spaces, in lower case and without punctuation around it: the lengths of its words.
    exceptions: dict[str, list[Annotated[int, Field(ge=1)]]] = Field(default_factory=dict)

    def split(self, text: str, most: int | None = None) -> list[Span]:
        """The words of a text in order, the first `most` of them; none holds white space or overlaps another."""
        return list(islice(self._words(text), most))

    def _words(self, text: str) -> Iterator[Span]:
        if self.kind == "characters":
            yield from ((i, i + 1) for i, character in enumerate(text) if not character.isspace())
        for chunk in _CHUNK.finditer(text) if self.kind != "characters" else ():
            yield from [chunk.span()] if self.kind == "whitespace" else self._words_of(text, *chunk.span())

    def _words_of(self, text: str, start: int, end: int) -> Iterable[Span]:
        """Of one chunk."""
        first, last = _core(text, start, end)
        lengths = self.exceptions.get(text[first:last].lower())
        if lengths is None or sum(lengths) != last - first:  # lower case may have another length
            # No word holds white space, so none goes on beyond the chunk; what follows may decide where one ends.
            return takewhile(lambda word: word[0] < end, (word.span() for word in _WORD.finditer(text, start)))
        words = list(_split(text, start, first))
        for length in lengths:
            words.append((first, first + length))
            first += length
        return [*words, *_split(text, last, end)]


def sentences(text: str, words: Sequence[Span]) -> list[list[Span]]:
    """The words by sentence: one ends with . ! ? … or their full-width forms and what closes after it, if white space
    follows in a text that has any, and at an empty line.
    """
    found: list[list[Span]] = [[]]
    has_ended = False
    for number, (start, end) in enumerate(words):
        word = text[start:end]
        gap = text[words[number - 1][1] : start] if number else ""
        if found[-1] and ("\n\n" in gap or (has_ended and (gap or word not in _CLOSING))):
            found.append([])
            has_ended = False
        found[-1].append((start, end))
        is_end = set(word) <= _ENDS and (
            word != "." or text[end : end + 1].isspace() or text[end : end + 1] in _CLOSING
        )
        has_ended = is_end or (has_ended and word in _CLOSING)
    return [sentence for sentence in found if sentence]


def learnt_splitter(texts: Iterable[tuple[str, Sequence[Span]]]) -> WordSplitter:
    """The rules, with exceptions for chunks that a training set splits otherwise, twice or more and mostly.

    Args:
        texts: texts and their words.
    """
    counts: dict[str, Counter[tuple[int, ...]]] = {}
    by_rule: dict[str, tuple[int, ...]] = {}
    for text, words in texts:
        starts = {start: index for index, (start, _) in enumerate(words)}
        for chunk in _CHUNK.finditer(text):
            first, last = _core(text, *chunk.span())
            lengths = _lengths(words, starts.get(first), last)
            core = text[first:last].lower()
            if lengths is not None and len(core) == last - first:
                counts.setdefault(core, Counter())[lengths] += 1
                by_rule.setdefault(core, tuple(end - start for start, end in _split(text, first, last)))
    exceptions = {
        core: list(lengths)
        for core, ((lengths, count), *_) in ((core, found.most_common(1)) for core, found in sorted(counts.items()))
        if count >= _LEAST and lengths != by_rule[core]
    }
    return WordSplitter(exceptions=exceptions)


def _lengths(words: Sequence[Span], index: int | None, last: int) -> tuple[int, ...] | None:
    """Of the words from a position on that end together at `last`; None where they do not, or leave a gap."""
    if index is None:
        return None
    found, position = [], words[index][0]
    for start, end in words[index:]:
        if start != position or end > last:
            return None
        found.append(end - start)
        position = end
        if end == last:
            return tuple(found)
    return None


def _core(text: str, start: int, end: int) -> Span:
    """A chunk without the punctuation around it; of nothing else, the whole chunk."""
    first, last = start, end
    while first < last and text[first] in _EDGE:
        first += 1
    while last > first and text[last - 1] in _EDGE:
        last -= 1
    return (first, last) if first < last else (start, end)


def _split(text: str, start: int, end: int) -> Iterator[Span]:
    """By the rules alone, as if nothing stood around it."""
    return (word.span() for word in _WORD.finditer(text, start, end))
