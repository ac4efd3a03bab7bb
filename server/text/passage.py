"""One text on its way through a translator: what the model reads of it, and its translation put together again.

A passage is its sentences and what stands between them. Of each sentence the model reads what it can know: addresses,
emoji, tags and text in another script are taken out first (server.text.marks) and stand in the translation again; a
sentence with nothing else in it is copied. Knows tokenizers and searches; no HTTP and no engine.
"""

import html
import unicodedata
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
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
from server.text.names import UNSURE, lost_names, rare_names, with_names
from server.text.numbers import invented, missing, numbers, signs_lost
from server.text.split import Span, cut, sentences

_BRACKETS = {"(": ")", "[": "]", "<": ">", '"': '"', "“": "”", "‘": "’", "（": "）", "「": "」", "《": "》", "«": "»"}
_CLOSING = frozenset(".,;:!?…)]}。，；：！？）」”’»")
_MANY_TAGS = 200  # of a sentence; more are placed one by one, in their order
_LITTLE = 0.1
_LITTLE_WORDS = (
    "a an the of to in on at by for with and or is are was were be been it its this that my your his her our their "
    "le la les l un une des de du d et ou à au aux en est der die das ein eine und oder zu 的 了 是 在"
)
_SAY_LITTLE = frozenset(_LITTLE_WORDS.split())
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
        places: of each character of the text and its end, the place of what is read that it became.
        taken: where in the text each mark that was taken out of it begins.
        is_cut: whether it is a part of one that was too long.
        is_whole: whether it is a text that is not split, and that nothing is done to.
        names: where in what is read the names are that the model has hardly seen.
        is_shouted: whether it was all in capitals, and is read without them.
    """

    start: int
    end: int
    read: str
    ids: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    names: list[tuple[int, int]] = field(default_factory=list)
    is_cut: bool = False
    is_whole: bool = False
    is_shouted: bool = False

    @property
    def needs_attention(self) -> bool:
        """Whether putting its translation together takes the attention; then it cannot be written token by token."""
        if self.is_whole:
            return False
        return bool(self.marks or self.names) or self.is_shouted or any(True for _ in numbers(self.read))


class Rendered(NamedTuple):
    """A sentence's translation.

    Attributes:
        text: as it stands in the translation.
        score: of the search.
        lacking: numbers of the source, and names that the model has hardly seen, that are not in it.
        copied: names that were written as in the source.
        is_cut_off: whether it ended because it had as many tokens as it may.
        invented: numbers in it that the source has not.
    """

    text: str
    score: float
    lacking: list[str]
    copied: list[str]
    is_cut_off: bool
    invented: Sequence[str] = ()


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
        self._tag_places = sorted({edge.place for edge in edges or ()})
        if is_split:
            self.sentences = self._planned(edges or [])
        else:
            ids = reader.tokenizer.encode(text)
            pieces = source_pieces(text, ids, reader.tokenizer)
            whole = Sentence(
                0, len(text), text if ids else "", ids, pieces, copied=[] if ids else [text], is_whole=True
            )
            self.sentences = [whole]

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
        return "".join(placed(Written.copy_of(list(map(self._shown, raw))), sentence.marks, spaces=True))

    def rendered(self, sentence: Sentence, found: Hypothesis) -> Rendered:
        """A sentence's translation of what a search found."""
        text = TranslatedText(self._reader.token_texts, self._reader.unknown_id, sentence.pieces)
        is_cut_off = found.finish_reason == "length"
        if sentence.is_whole or not len(found.attention):
            whole = text.whole(found.ids, found.attention)
            return Rendered(self._shown(whole), found.score, [], [], is_cut_off)
        written = self._written(sentence, text, found)
        lacking = _repaired(sentence.read, written)
        copied: list[str] = []
        if found.score < UNSURE:
            copied, unknown = with_names(sentence.read, sentence.names, written)
            lacking += unknown
        if self._reader.source != "de" and not sentence.is_shouted:  # whose nouns all have a capital
            lacking += [name for name in lost_names(sentence.read, written) if name not in lacking]
        more = invented(sentence.read, "".join(written.characters), self._reader.source)
        if sentence.is_shouted and not _CASED.isdisjoint(scripts_of(self._reader.target)):
            written = written.shown(map(str.upper, written.characters))
        shown = written.shown(map(self._shown, written.characters))
        spaces = self._reader.target not in WITHOUT_SPACES
        return Rendered("".join(placed(shown, sentence.marks, spaces)), found.score, lacking, copied, is_cut_off, more)

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
        of_tokens: list[NDArray[np.float32] | None] = []
        since: NDArray[np.float32] | None = None
        rows = [*found.attention[: len(found.ids)], None]
        for token, row in zip([*found.ids, None], rows, strict=True):
            if token is None or row is None:
                piece = text.finish()
            else:
                piece = text.push(token, row)
                since = row if since is None else since  # of a character in several tokens the first one's
            if piece and since is not None:
                characters += piece
                places += [int(words[int(since.argmax())] * scale)] * len(piece)
                of_tokens += [since] * len(piece)
                since = None
        weights = [_weight(piece) for piece in pieces]
        return Written(characters, places, of_tokens, [int(word * scale) for word in words], weights)

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
        out = list(found_in(raw, reader.source))
        if self._is_markup:
            places = self._tag_places
            inside = places[bisect_right(places, span.start) : bisect_left(places, span.end)]
            out = _parted(out, [place - span.start for place in inside])
        else:  # no tags may stand between
            out = [_widened(raw, *part) for part in out]
        text, places = _without(raw, [(start, end) for start, end, _ in out])
        is_known = any(character.isalpha() for character in text) or (
            reader.reads_numbers and any(character.isdigit() for character in text)
        )
        if is_known:
            text, is_shouted = without_capitals(unicodedata.normalize("NFC", text), reader.tokenizer, reader.source)
        ids = reader.tokenizer.encode(text) if is_known else []
        if not ids:
            return Sentence(span.start, span.end, "", copied=[raw], places=list(range(len(raw) + 1)))
        marks = [
            Mark(
                places[start],
                places[start],
                self._shown(raw[start:end]),
                is_word=is_word,
                space_before=raw[start - 1 : start].isspace(),
                space_after=raw[end : end + 1].isspace(),
            )
            for start, end, is_word in out
        ]
        return Sentence(
            span.start,
            span.end,
            text,
            ids,
            source_pieces(text, ids, reader.tokenizer),
            marks,
            copied=[raw[start:end] for start, end, _ in out],
            places=places,
            taken=[span.start + start for start, _, _ in out],
            names=[] if is_shouted else rare_names(text, reader.tokenizer),
            is_shouted=is_shouted,
        )

    def _add_edges(self, planned: list[Sentence], edges: Sequence[Edge]) -> None:
        """Give the tags to the sentences that they stand in, or else to the nearest."""
        if not planned:
            return
        homes = _homes(planned, edges)
        own: list[list[int]] = [[] for _ in planned]
        for number, home in enumerate(homes):
            own[home].append(number)
        for home, sentence in enumerate(planned):
            if own[home]:
                sentence.marks = _with_tags(self.text, sentence, edges, own[home], homes)


def _weight(piece: str) -> float:
    """What the attention to a token counts where an element is placed by it."""
    word = piece.strip().lower()
    return _LITTLE if word in _SAY_LITTLE or not any(map(str.isalnum, word)) else 1.0


def _homes(planned: Sequence[Sentence], edges: Sequence[Edge]) -> list[int]:
    """Which sentence each tag goes with: one between two with the next if it is opening, else with the one before, or
    with that of the tag before it.
    """
    starts, ends = [sentence.start for sentence in planned], [sentence.end for sentence in planned]
    nearest = (
        min(bisect_right(ends, edge.place), len(planned) - 1)
        if edge.is_opening
        else max(bisect_left(starts, edge.place) - 1, 0)
        for edge in edges
    )
    return [*accumulate(nearest, max)]


def _with_tags(
    text: str, sentence: Sentence, edges: Sequence[Edge], own: list[int], homes: Sequence[int]
) -> list[Mark]:
    """A sentence's marks with its tags, in the order of the text.

    Args:
        text: the whole text.
        sentence: the sentence.
        edges: all tags.
        own: the numbers of those that go with it.
        homes: of all tags, the sentence that they go with.
    """
    marks: list[Mark] = []
    waiting = deque(zip(sentence.taken, sentence.marks, strict=True))
    opened: dict[int, int] = {}  # the closing tags of elements that are open here -> their marks
    for number in own:
        edge = edges[number]
        while waiting and waiting[0][0] < edge.place:
            marks.append(waiting.popleft()[1])
        offset = min(max(edge.place, sentence.start), sentence.end) - sentence.start
        place = sentence.places[offset]
        if number in opened:
            index = opened[number]
            inner = marks[index + 1 :]
            if marks[index].start < place and sentence.read[marks[index].start : place] != " ":
                end = place + (place == len(sentence.read))  # to the end: what attends to the end token, too
                marks[index] = marks[index]._replace(end=end, closing=edge.raw, num_inner=len(inner))
            elif inner:  # an element with nothing that is read in it stays as it is
                whole = "".join([marks[index].opening, *(mark.opening + mark.closing for mark in inner), edge.raw])
                marks[index:] = [inner[0]._replace(opening=whole, closing="", space_after=inner[-1].space_after)]
            else:
                marks[index] = marks[index]._replace(opening=marks[index].opening + edge.raw)
            continue
        home, partner = homes[number], edge.partner
        if partner is not None and edge.is_opening and len(own) <= _MANY_TAGS and homes[partner] == home:
            opened[partner] = len(marks)
        is_alone = partner is None and not edge.raw.startswith("</") and sentence.start < edge.place < sentence.end
        before = is_alone and text[edge.place - 1].isspace()
        after = is_alone and text[edge.place].isspace()
        marks.append(
            Mark(
                place,
                place,
                edge.raw,
                space_before=before,
                space_after=after,
                keeps_before=partner is None and edge.raw.startswith("</") and place > 0,
                keeps_after=edge.is_opening and place < len(sentence.read),
            )
        )
    return marks + [mark for _, mark in waiting]


def _widened(raw: str, start: int, end: int, is_word: bool) -> tuple[int, int, bool]:
    """What is not translated, with the brackets that stand around nothing else."""
    while start and _BRACKETS.get(raw[start - 1]) == raw[end : end + 1] != "":
        start, end = start - 1, end + 1
    return start, end, is_word


def _parted(out: Sequence[tuple[int, int, bool]], tags: Sequence[int]) -> list[tuple[int, int, bool]]:
    """What is not translated, in parts where tags stand in it."""
    parts = []
    for start, end, is_word in out:
        borders = [start, *tags[bisect_right(tags, start) : bisect_left(tags, end)], end]
        parts += [(first, second, is_word) for first, second in pairwise(borders)]
    return parts


def _without(raw: str, out: Sequence[tuple[int, int]]) -> tuple[str, list[int]]:
    """A sentence without what is taken out of it, with single spaces, and where each of its characters went."""
    read: list[str] = []
    places = [0] * (len(raw) + 1)
    waiting = deque(out)
    is_after = False  # something was taken out just before
    for index, character in enumerate(raw):
        places[index] = len(read)
        while waiting and waiting[0][1] <= index:
            waiting.popleft()
        if waiting and waiting[0][0] <= index:
            places[index] -= bool(read) and read[-1] == " "  # which may go
            is_after = True
        elif character.isspace():
            if read and read[-1] != " ":
                read.append(" ")
        else:
            if is_after and read and read[-1] == " " and character in _CLOSING:
                read.pop()
                for before in range(index, -1, -1):  # and what stood at its end
                    if places[before] < len(read):
                        break
                    places[before] = len(read)
            read.append(character)
            is_after = False
    places[-1] = len(read)
    text = "".join(read).rstrip()
    return text, [min(place, len(text)) for place in places]


def _repaired(source: str, written: Written) -> list[str]:
    """Put right the digits that the model got wrong, where they attend to a number of the source, and the signs at
    its numbers that it left out.

    Args:
        source: what was read.
        written: its translation, which is changed.

    Returns:
        The numbers of the source that are still not in the translation, and those with a sign that is not.
    """
    for match in missing(source, "".join(written.characters)):
        text = "".join(written.characters)
        known = {other[0] for other in numbers(source)}
        for run in numbers(text):
            inside = sum(match.start() <= at < match.end() for at in written.places[run.start() : run.end()])
            if run[0] not in known and 2 * inside > run.end() - run.start():
                written.replace(run.start(), run.end(), match[0], match.start())
                break
    lacking = [match[0] for match in missing(source, "".join(written.characters))]
    signs = list(signs_lost(source, "".join(written.characters)))
    for sign in sorted(signs, key=lambda sign: -1 if sign.at is None else sign.at.start(), reverse=True):
        if sign.at is not None:
            start, end = sign.at.span()
            written.replace(start, end, f"{sign.before}{sign.at[0]}{sign.after}", written.places[start])
    return lacking + [sign.text for sign in signs if sign.at is None and not _is_listed(sign.text, lacking)]


def _is_listed(text: str, lacking: Sequence[str]) -> bool:
    """Whether a number with a sign is listed without it."""
    return any(number[0] in lacking for number in numbers(text))
