"""What stands in a sentence and is not translated: addresses, tags, emoji, text in another script.

Before a sentence is read they are taken out, and afterwards they are put into its translation where the attention says
that the words around them went.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.text.languages import foreign_letters

_EMOJI = (
    "\U0001f000-\U0001faff\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299"
)
_WORDS = r"""
    (?:https?|ftp|file)://[^\s<>"“”«»，。！？；）]*[^\s<>"“”«»，。！？；）.,:;!?'’)\]}]
  | \bwww\.[\w-]+(?:\.[\w-]+)+(?:/[^\s<>"“”，。！？；）]*[^\s<>"“”，。！？；）.,:;!?'’)\]}])?
  | (?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+
  | (?<![\w@.-])(?:[a-z0-9-]+\.)+(?:com|org|net|edu|gov|io|dev|info|cn|de|fr|uk|eu|py|js|txt|pdf|csv|json|md|html|zip)\b
    (?:/[^\s<>"“”，。！？；）]*[^\s<>"“”，。！？；）.,:;!?'’)\]}])?
  | (?<![\w/])(?:~|\.{1,2})?/(?:[\w.-]+/)+[\w.-]*\w/?
  | `[^`\n]+`
  | \{\{?[\w. ]{0,40}\}\}? | \$\{\w{1,40}\} | %\(\w{1,40}\)[sd] | %[sd]\b
  | (?<![\w&])[@\#][^\W\d]\w+
  | \b[A-Z]{2,}[A-Z-]*\d[\w-]*\b
"""
_TAGS = r"</?[A-Za-z][^<>]{0,2000}>|<!--.{0,2000}?-->|&(?:[A-Za-z]{2,10}|\#\d{1,6}|\#[xX][0-9a-fA-F]{1,6});"
_FACES = rf"[{_EMOJI}](?:[{_EMOJI}\ufe0e\ufe0f\u200d\u20e3\U000e0020-\U000e007f])*|(?<!\S)[:;=]-?[)(DPp](?!\w)"


class Mark(NamedTuple):
    """Something that is put into a translation.

    Attributes:
        start: its place in what the model reads.
        end: the same for something that stands there; of an element with text in it, where that ends.
        opening: what is put in; of an element, its opening tag.
        closing: an element's closing tag, or nothing.
        num_inner: of an element, how many of the marks that follow stand in it.
        is_word: whether it is to stand between spaces, where the source has it so.
        space_before: whether the source has a space before it.
        space_after: likewise after it.
        keeps_before: whether what stands before it must not be empty: it closes an element that begins elsewhere.
        keeps_after: likewise after it: it opens one that ends elsewhere.
    """

    start: int
    end: int
    opening: str
    closing: str = ""
    num_inner: int = 0
    is_word: bool = False
    space_before: bool = False
    space_after: bool = False
    keeps_before: bool = False
    keeps_after: bool = False


@cache
def _pattern(language: str) -> re.Pattern[str]:
    """What is not translated from a language: a group for tags, one for words, one for emoji, one for other scripts."""
    letters = foreign_letters(language)
    between = rf"[\w.'’,，、:：·~-]{{1,3}}(?=[{letters}])|[ ](?=[{letters}])"
    run = rf"[{letters}](?:[{letters}\u0300-\u036f]|{between})*[。！？…]?"
    return re.compile(
        rf"(?P<tag>{_TAGS})|(?P<word>{_WORDS})|(?P<face>{_FACES})|(?P<foreign>{run})", re.VERBOSE | re.DOTALL
    )


def found_in(text: str, language: str) -> Iterator[tuple[int, int, bool]]:
    """What of a text is not translated from a language: its start and end, and whether it is a word."""
    for match in _pattern(language).finditer(text):
        yield match.start(), match.end(), match.lastgroup in ("word", "foreign")


@dataclass
class Written:
    """A translation as it is put together.

    Attributes:
        characters: of the text; tags and the like are one of them.
        places: of each, the character of the source that it attends to most; -1 for none.
        rows: of each, the attention of the token that it is from, over the source's tokens; None for none.
        starts: where each of the source's tokens begins.
        weights: what the attention to each of them counts: a word that says something counts more than "the" does.
    """

    characters: list[str]
    places: list[int]
    rows: list[NDArray[np.float32] | None]
    starts: Sequence[int] = ()
    weights: Sequence[float] = ()

    @classmethod
    def copy_of(cls, characters: list[str]) -> "Written":
        """A text that is its own translation."""
        return cls(characters, list(range(len(characters))), [None] * len(characters))

    def replace(self, start: int, end: int, new: str, place: int) -> None:
        """Write something else in a stretch, which is from a place of the source."""
        row = next((row for row in self.rows[start:end] if row is not None), None)
        self.characters[start:end] = new
        self.places[start:end] = [place] * len(new)
        self.rows[start:end] = [row] * len(new)

    def shown(self, characters: Iterable[str]) -> "Written":
        """The same with other strings for its characters."""
        return Written(list(characters), self.places, self.rows, self.starts, self.weights)

    def peaks(self, start: int, end: int) -> NDArray[np.float64]:
        """Of each character, how much it attends to the token of a stretch of the source that it attends to most."""
        found = np.zeros(len(self.characters))
        columns = [number for number, place in enumerate(self.starts) if start <= place < end]
        if columns:
            weights = np.array([self.weights[column] for column in columns])
            for index, row in enumerate(self.rows):
                if row is not None:
                    found[index] = (row[columns] * weights).max()
        return found


@dataclass
class _Part:
    """A mark on its way into a translation: an element with what is in it, or something that stands alone.

    Attributes:
        mark: the mark.
        inner: what is in it.
        start: where it stands in the translation, once that is known.
        end: where it ends there.
    """

    mark: Mark
    inner: list["_Part"] = field(default_factory=list)
    start: int = -1
    end: int = -1

    @property
    def has_text(self) -> bool:
        """Whether it is an element."""
        return bool(self.mark.closing)


def placed(written: Written, marks: Sequence[Mark], spaces: bool) -> list[str]:
    """A translation with its marks, as strings to be joined.

    Elements go where their words went, apart from each other and within the one that they are in, and none is empty
    unless the translation is. What stands alone keeps its order, so that tags that were well formed remain so.

    Args:
        written: the translation.
        marks: in the source's order, an element before what is in it.
        spaces: whether the target's words have spaces between them.
    """
    parts = _nested(marks)
    return list(_strings(written, parts, 0, len(written.characters), spaces))


def _nested(marks: Sequence[Mark]) -> list[_Part]:
    """Marks as a tree."""
    outermost: list[_Part] = []
    open_parts: list[tuple[list[_Part], int]] = [(outermost, len(marks))]  # each with the mark that is no more in it
    for number, mark in enumerate(marks):
        while open_parts[-1][1] <= number:
            open_parts.pop()
        part = _Part(mark)
        open_parts[-1][0].append(part)
        if mark.num_inner:
            open_parts.append((part.inner, number + 1 + mark.num_inner))
    return outermost


def _strings(written: Written, parts: list[_Part], low: int, high: int, spaces: bool) -> Iterator[str]:
    """A stretch of the translation with what stands in it."""
    parts = _arranged(written, parts, low, high)
    for part in sorted(parts, key=lambda each: (each.start, each.end > each.start)):
        yield from written.characters[low : part.start]
        low = part.start
        if part.has_text:
            yield part.mark.opening
            yield from _strings(written, part.inner, part.start, part.end, spaces)
            yield part.mark.closing
            low = part.end
        else:
            yield _spaced(written.characters, low, part.mark, spaces)
    yield from written.characters[low:high]


def _arranged(written: Written, parts: list[_Part], low: int, high: int) -> list[_Part]:
    """Find the places of parts that are in the same element, within its stretch; the parts that are then in it."""
    if not parts:
        return parts
    free = [low <= index < high and not character.isspace() for index, character in enumerate(written.characters)]
    best = {id(part): _best(written, part.mark, low, high, None)[0] for part in parts if part.has_text}
    is_between = any(part.mark.keeps_before for part in parts) and any(part.mark.keeps_after for part in parts)
    reserve = int(is_between and sum(free) > 1)  # something to stand on one of their sides
    parts = _joined(parts, best, sum(free) - reserve)
    waiting = sorted((part for part in parts if part.has_text), key=lambda part: -best[id(part)])
    for number, part in enumerate(waiting, 1):
        left = len(waiting) - number + reserve  # characters that the others need
        _, start, end = _best(written, part.mark, low, high, free)
        if start == end:
            start, end = _nearest(written, part.mark, low, high, free, spare=sum(free) - left)
        while end > start and (not free[end - 1] or sum(free) - sum(free[start:end]) < left):
            end -= 1
        while start < end and not free[start]:
            start += 1
        part.start, part.end = start, end
        free[start:end] = [False] * (end - start)
    inside = {index for part in parts for index in range(part.start + 1, part.end)}
    _stand(written, [part for part in parts if not part.has_text], low, high, inside)
    return parts


def _stand(written: Written, alone: list[_Part], low: int, high: int, inside: set[int]) -> None:
    """Find the places of marks that stand alone, in their order, outside of the elements beside them."""
    filled = [index for index in range(low, high) if not written.characters[index].isspace()]
    outside = [index for index in range(low, high + 1) if index not in inside]
    least, most = low, high
    if filled:
        least = next(index for index in outside if index > filled[0])
        most = next(index for index in reversed(outside) if index <= filled[-1])
    opening = max((number for number, part in enumerate(alone) if part.mark.keeps_after), default=-1)
    for number, part in enumerate(alone):
        if part.mark.keeps_before:
            low = max(low, least)
        limit = max(low, most) if number <= opening else high
        low = part.start = part.end = _border(written, part.mark.start, low, limit, inside)


def _joined(parts: list[_Part], best: dict[int, int], num_free: int) -> list[_Part]:
    """Parts with no more elements than there are characters: one that has little of its own is put around the next."""
    parts = list(parts)
    while True:
        elements = [number for number, part in enumerate(parts) if part.has_text]
        if len(elements) <= max(num_free, 1):
            return parts
        least = min(range(len(elements)), key=lambda number: best[id(parts[elements[number]])])
        around = elements[least]
        other = elements[least + 1] if least + 1 < len(elements) else elements[least - 1]
        first, last = min(around, other), max(around, other)
        mark = parts[around].mark._replace(start=parts[first].mark.start, end=parts[last].mark.end)
        own = parts[around].inner
        joined = _Part(mark, [*own, parts[other]] if other > around else [parts[other], *own])
        best[id(joined)] = best[id(parts[around])] + best[id(parts[other])]
        parts[first : last + 1] = [joined, *parts[first + 1 : last]]


def _border(written: Written, place: int, low: int, high: int, inside: set[int]) -> int:
    """Where the translation of what is before a place of the source ends, as far as its order allows that.

    Of all borders that are not inside an element the one with the fewest characters on the wrong side, and of those
    the last.
    """
    steps = [(0 if at < 0 else 1 if at < place else -1) for at in written.places[low:high]]
    totals = list(accumulate(steps, initial=0))
    allowed = [index for index in range(len(totals)) if low + index not in inside]
    return low + max(allowed, key=lambda index: (totals[index], index))


def stretch(written: Written, start: int, end: int) -> tuple[int, int]:
    """The stretch of a translation that has most of what attends to a stretch of the source and least of what does
    not; empty where nothing does.
    """
    return _best(written, Mark(start, end, ""), 0, len(written.characters), None)[1:]


def _best(written: Written, mark: Mark, low: int, high: int, free: Sequence[bool] | None) -> tuple[int, int, int]:
    """The same between two places, and only where it is free, with how many characters it has more than others."""
    best, best_start, best_end = 0, high, high
    total, begin = 0, low
    for index in range(low, high):
        if free is not None and not free[index] and not written.characters[index].isspace():
            total, begin = 0, index + 1
            continue
        at = written.places[index]
        total += 0 if at < 0 else 1 if mark.start <= at < mark.end else -1
        if total > best and (free is None or any(free[begin : index + 1])):
            best, best_start, best_end = total, begin, index + 1
        if total < 0:
            total, begin = 0, index + 1
    return best, best_start, best_end


def _nearest(written: Written, mark: Mark, low: int, high: int, free: Sequence[bool], spare: int) -> tuple[int, int]:
    """The free characters for an element that nothing attends to most: those that attend to it more than others do,
    or else those where it would stand if both languages had the same order; empty where nothing is free.

    Args:
        written: the translation.
        mark: the element.
        low: where the stretch begins in which it may stand.
        high: where that ends.
        free: of each character, whether it is free.
        spare: how many characters it may have.
    """
    candidates = [index for index in range(low, high) if free[index]]
    if not candidates:
        return high, high
    peaks = written.peaks(mark.start, mark.end)
    words = [index for index in candidates if written.characters[index].isalnum()] or candidates
    length = max([mark.end, *(at + 1 for at in written.places)])
    expected = low + (high - low) * (mark.start + mark.end) / 2 / length
    middle = max(words, key=lambda index: (peaks[index], -abs(index + 0.5 - expected)))
    start, end = middle, middle + 1
    is_word = written.characters[middle].isalnum()

    def belongs(index: int) -> bool:
        """Whether a character is of the same token, of the same Latin word, or attends to the element as much."""
        if not (low <= index < high and free[index]) or written.characters[index].isalnum() != is_word:
            return False
        beside = index + 1 if index < middle else index - 1
        is_latin = written.characters[index].isascii() and written.characters[beside].isascii()
        same = written.rows[index] is not None and written.rows[index] is written.rows[middle]
        return same or (is_latin and is_word) or (peaks[middle] > 0 and peaks[index] >= peaks[middle] / 2)

    while end - start < spare and belongs(end):
        end += 1
    while end - start < spare and belongs(start - 1):
        start -= 1
    return start, end


def _spaced(characters: list[str], index: int, mark: Mark, spaces: bool) -> str:
    """A mark with the spaces that the source has around it, where there are none in the translation."""
    before = characters[index - 1] if index else " "
    after = characters[index] if index < len(characters) else " "
    text = mark.opening
    if mark.space_before and (mark.is_word or spaces) and not before.isspace() and before not in "(（“「[":
        text = f" {text}"
    if mark.space_after and (mark.is_word or spaces) and (after.isalnum() or after in "(（“「["):
        text = f"{text} "
    return text
