"""One text on its way through a translator: what the model reads of it, and its translation put together again.

A passage is its sentences and what stands between them. Of each sentence the model reads what it can know: addresses,
emoji, tags and text in another script are taken out first (server.text.marks) and stand in the translation again; a
sentence with nothing else in it is copied. Knows tokenizers and searches; no HTTP and no engine.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoding.beam_search import Hypothesis
from models.decoding.detokenizer import TokenTexts
from models.decoding.translated_text import TranslatedText, source_pieces
from models.tokenizer import Tokenizer
from server.text.capitals import without_capitals
from server.text.languages import WITHOUT_SPACES, scripts_of
from server.text.marks import Mark, Written, found_in, placed
from server.text.numbers import missing, numbers
from server.text.split import Span, cut, sentences

_BRACKETS = {"(": ")", "[": "]", "<": ">", '"': '"', "“": "”", "‘": "’", "（": "）", "「": "」", "《": "》", "«": "»"}
_CLOSING = frozenset(".,;:!?…)]}。，；：！？）」”’»")
_CASED = frozenset({"Latin", "Cyrillic", "Greek"})


@dataclass(frozen=True)
class Reader:
    """What is known of the model that reads.

    Attributes:
        tokenizer: its tokenizer.
        token_texts: the same tokenizer's.
        source: the language that it reads.
        target: the language that it writes.
        most_tokens: of a sentence that is read whole, without its end token.
        reads_numbers: whether it was trained on sentences without a letter.
        unknown_id: the token that is replaced by what it attends to, or None.
    """

    tokenizer: Tokenizer
    token_texts: TokenTexts
    source: str
    target: str
    most_tokens: int
    reads_numbers: bool
    unknown_id: int | None


class Edge(NamedTuple):
    """A tag in a text that is markup without its tags.

    Attributes:
        place: before which character it stands.
        raw: as it is written.
        partner: of an opening tag the number of its closing one, of that the number of its opening one; None: alone.
        is_opening: whether what follows it stands in it.
    """

    place: int
    raw: str
    partner: int | None = None
    is_opening: bool = False


@dataclass
class Sentence:
    """One sentence.

    Attributes:
        start: its first character in the text.
        end: the character after its last.
        read: what the model reads; empty: nothing, and the sentence is copied.
        ids: the tokens of that, without an end token.
        pieces: what of it each token stands for.
        marks: what is put into its translation.
        copied: what of it is copied, in order.
        is_cut: whether it is a part of one that was too long.
        is_shouted: whether it was all in capitals, and is read without them.
    """

    start: int
    end: int
    read: str
    ids: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    is_cut: bool = False
    is_shouted: bool = False

    @property
    def needs_attention(self) -> bool:
        """Whether putting its translation together takes the attention; then it cannot be written token by token."""
        return bool(self.marks) or self.is_shouted or any(True for _ in numbers(self.read))


class Rendered(NamedTuple):
    """A sentence's translation.

    Attributes:
        text: as it stands in the translation.
        score: of the search.
        lacking: numbers of the source that are not in it.
        is_cut_off: whether it ended because it had as many tokens as it may.
    """

    text: str
    score: float
    lacking: list[str]
    is_cut_off: bool


class Passage:
    """One text.

    Args:
        text: the text; of markup, its text without tags.
        reader: the model.
        is_split: whether it is read sentence by sentence; otherwise whole and as it is.
        edges: of markup, its tags, in order; the translation is markup, too. None: it is plain text.

    Attributes:
        sentences: in order.
    """

    def __init__(
        self, text: str, reader: Reader, *, is_split: bool = True, edges: Sequence[Edge] | None = None
    ) -> None:
        self.text = text
        self._reader = reader
        self._is_markup = edges is not None
        if is_split:
            self.sentences = self._planned(edges or [])
        else:
            ids = reader.tokenizer.encode(text)
            pieces = source_pieces(text, ids, reader.tokenizer)
            self.sentences = [Sentence(0, len(text), text if ids else "", ids, pieces, copied=[] if ids else [text])]

    @property
    def num_tokens(self) -> int:
        """Tokens that the model reads, end tokens left out."""
        return sum(len(sentence.ids) for sentence in self.sentences)

    def gap(self, number: int) -> str:
        """What stands before a sentence of the translation; of the number after the last, what stands at the end."""
        spans = self.sentences
        start = spans[number - 1].end if number else 0
        end = spans[number].start if number < len(spans) else len(self.text)
        raw = self.text[start:end]
        shown = html.escape(raw, quote=False) if self._is_markup else raw
        if number in (0, len(spans)) or raw.strip(" ") or (not spans[number - 1].read or not spans[number].read):
            return shown
        if self._reader.target in WITHOUT_SPACES:
            return ""
        return shown or " "

    def copied(self, sentence: Sentence) -> str:
        """A sentence that is not read, as it stands in the translation."""
        raw = self.text[sentence.start : sentence.end]
        if not sentence.marks:
            return self._shown(raw)
        characters = Written(list(map(self._shown, raw)), list(range(len(raw))))
        return "".join(placed(characters, sentence.marks, spaces=True))

    def rendered(self, sentence: Sentence, found: Hypothesis) -> Rendered:
        """A sentence's translation of what a search found."""
        text = TranslatedText(self._reader.token_texts, self._reader.unknown_id, sentence.pieces)
        is_cut_off = found.finish_reason == "length"
        if not len(found.attention):
            whole = text.whole(found.ids, found.attention)
            return Rendered(self._shown(whole), found.score, [], is_cut_off)
        written = self._written(sentence, text, found)
        lacking = _repaired(sentence.read, written)
        if sentence.is_shouted and not _CASED.isdisjoint(scripts_of(self._reader.target)):
            written = Written([character.upper() for character in written.characters], written.places)
        shown = Written(list(map(self._shown, written.characters)), written.places)
        spaces = self._reader.target not in WITHOUT_SPACES
        return Rendered("".join(placed(shown, sentence.marks, spaces)), found.score, lacking, is_cut_off)

    def _shown(self, text: str) -> str:
        return html.escape(text, quote=False) if self._is_markup else text

    def _written(self, sentence: Sentence, text: TranslatedText, found: Hypothesis) -> Written:
        """The characters of a translation and what they attend to."""
        pieces = [*sentence.pieces, ""]
        starts = [*accumulate(map(len, sentence.pieces), initial=0)]
        words = [start + len(piece) - len(piece.lstrip()) for start, piece in zip(starts, pieces, strict=True)]
        scale = len(sentence.read) / (starts[-1] or 1)  # bytes that are no character are counted as one
        characters: list[str] = []
        places: list[int] = []
        since: NDArray[np.float32] | None = None
        rows = [*found.attention[: len(found.ids)], None]
        for token, row in zip([*found.ids, None], rows, strict=True):
            if token is None or row is None:
                piece = text.finish()
            else:
                piece = text.push(token, row)
                since = row if since is None else since + row
            if piece and since is not None:
                characters += piece
                places += [int(words[int(since.argmax())] * scale)] * len(piece)
                since = None
        return Written(characters, places)

    def _planned(self, edges: Sequence[Edge]) -> list[Sentence]:
        reader = self._reader
        planned: list[Sentence] = []
        for span in sentences(self.text, reader.source):
            sentence = self._prepared(span)
            if len(sentence.ids) > reader.most_tokens:
                parts = cut(self.text, span, lambda part: len(reader.tokenizer.encode(part)) <= reader.most_tokens)
                for part in map(self._prepared, parts):
                    part.is_cut = len(parts) > 1
                    planned.append(part)
            else:
                planned.append(sentence)
        if edges:
            self._add_edges(planned, edges)
        return planned

    def _prepared(self, span: Span) -> Sentence:
        """What the model reads of a sentence."""
        raw, reader = self.text[span.start : span.end], self._reader
        read: list[str] = []
        marks: list[Mark] = []
        done = 0
        for start, end, is_word in _widened(raw, found_in(raw, reader.source)):
            _add_words(read, raw[done:start])
            place, done = len("".join(read).rstrip()), end
            before, after = raw[start - 1 : start].isspace(), raw[end : end + 1].isspace()
            marks.append(Mark(place, place, self._shown(raw[start:end]), "", is_word, before, after))
            if after and read and read[-1] != " ":
                read.append(" ")
        _add_words(read, raw[done:])
        text = "".join(read).strip()
        is_known = any(character.isalpha() for character in text) or (
            reader.reads_numbers and any(character.isdigit() for character in text)
        )
        if not is_known:
            return Sentence(span.start, span.end, "", copied=[raw])
        text, is_shouted = without_capitals(unicodedata.normalize("NFC", text), reader.tokenizer, reader.source)
        ids = reader.tokenizer.encode(text)
        if not ids:
            return Sentence(span.start, span.end, "", copied=[raw])
        copied = [html.unescape(mark.opening) if self._is_markup else mark.opening for mark in marks]
        pieces = source_pieces(text, ids, reader.tokenizer)
        return Sentence(span.start, span.end, text, ids, pieces, marks, copied, is_shouted=is_shouted)

    def _add_edges(self, planned: list[Sentence], edges: Sequence[Edge]) -> None:
        """Give the tags to the sentences that they stand in, or else to the nearest."""
        if not planned:
            return
        homes = [_home(planned, edge) for edge in edges]
        tags: list[list[Mark]] = [[] for _ in planned]
        for edge, home in zip(edges, homes, strict=True):
            place = self._place_in(planned[home], edge.place)
            if edge.partner is None:
                tags[home].append(Mark(place, place, edge.raw))
            elif edge.is_opening and homes[edge.partner] <= home:
                closing = edges[edge.partner]
                end = max(place, self._place_in(planned[home], closing.place)) if homes[edge.partner] == home else place
                tags[home].append(Mark(place, end, edge.raw, closing.raw))
            elif edge.is_opening or homes[edge.partner] < home:
                tags[home].append(Mark(place, place, edge.raw))
        for sentence, own in zip(planned, tags, strict=True):
            sentence.marks = sorted([*own, *sentence.marks], key=lambda mark: (mark.start, mark.start - mark.end))

    def _place_in(self, sentence: Sentence, place: int) -> int:
        """A place of the text as one of what the model reads of a sentence; of a copied one, of its text."""
        offset = min(max(place, sentence.start), sentence.end) - sentence.start
        if not sentence.read or offset == 0:
            return offset
        raw = self.text[sentence.start : sentence.end]
        if offset == len(raw):
            return len(sentence.read)
        read: list[str] = []
        done = 0
        for start, end, _ in _widened(raw, found_in(raw, self._reader.source)):
            if start >= offset:
                break
            _add_words(read, raw[done:start])
            done = min(end, offset)
        _add_words(read, raw[done:offset])
        return min(len("".join(read)), len(sentence.read))


def _home(planned: Sequence[Sentence], edge: Edge) -> int:
    """Which sentence a tag goes with: of one between two, an opening one with the next, others with the one before."""
    if edge.is_opening:
        return next((i for i, sentence in enumerate(planned) if sentence.end > edge.place), len(planned) - 1)
    return next((i for i in range(len(planned) - 1, -1, -1) if planned[i].start < edge.place), 0)


def _widened(raw: str, found: Iterable[tuple[int, int, bool]]) -> Iterable[tuple[int, int, bool]]:
    """What is not translated, with the brackets that stand around nothing else."""
    for start, end, is_word in found:
        while start and _BRACKETS.get(raw[start - 1]) == raw[end : end + 1] != "":
            start, end = start - 1, end + 1
        yield start, end, is_word


def _add_words(read: list[str], text: str) -> None:
    """Add text with single spaces, and none before what closes a clause."""
    for word in re.split(r"(\s+)", text):
        if not word:
            continue
        if word.isspace():
            if read and read[-1] != " ":
                read.append(" ")
            continue
        if read and read[-1] == " " and word[0] in _CLOSING:
            read.pop()
        read.append(word)


def _repaired(source: str, written: Written) -> list[str]:
    """Put right the digits that the model got wrong, where they attend to a number of the source.

    Args:
        source: what was read.
        written: its translation, which is changed.

    Returns:
        The numbers of the source that are still not in the translation.
    """
    for match in missing(source, "".join(written.characters)):
        text = "".join(written.characters)
        known = {other[0] for other in numbers(source)}
        for run in numbers(text):
            inside = sum(match.start() <= at < match.end() for at in written.places[run.start() : run.end()])
            if run[0] not in known and 2 * inside > run.end() - run.start():
                written.characters[run.start() : run.end()] = match[0]
                written.places[run.start() : run.end()] = [match.start()] * len(match[0])
                break
    return [match[0] for match in missing(source, "".join(written.characters))]
