"""What stands in a sentence and is not translated: addresses, tags, emoji, text in another script.

Before a sentence is read they are taken out, and afterwards they are put into its translation where the attention says
that the words around them went.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import NamedTuple

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
    """

    start: int
    end: int
    opening: str
    closing: str = ""
    num_inner: int = 0
    is_word: bool = False
    space_before: bool = False
    space_after: bool = False


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


class Written(NamedTuple):
    """A translation as it is put together.

    Attributes:
        characters: of the text; tags and the like are one of them.
        places: of each, the character of the source that it attends to most; -1 for none.
    """

    characters: list[str]
    places: list[int]


def placed(written: Written, marks: Sequence[Mark], spaces: bool) -> list[str]:
    """A translation with its marks, as strings to be joined.

    Marks keep their order, and elements stay within each other, so that tags that were well formed remain so.

    Args:
        written: the translation.
        marks: in the source's order, an element before what is in it.
        spaces: whether the target's words have spaces between them.
    """
    inserted: list[list[str]] = [[] for _ in range(len(written.characters) + 1)]  # before each character
    _place(written, deque(marks), 0, len(written.characters), inserted, spaces)
    result: list[str] = []
    for before, character in zip(inserted, [*written.characters, ""], strict=True):
        result += [*before, character]
    return result


def _place(written: Written, marks: deque[Mark], low: int, high: int, inserted: list[list[str]], spaces: bool) -> None:
    """Put marks between two places of the translation."""
    while marks:
        mark = marks.popleft()
        if mark.closing:
            inner = deque(marks.popleft() for _ in range(mark.num_inner))
            start, end = stretch(written, mark.start, mark.end, low, high)
            while start < end and written.characters[start].isspace():
                start += 1
            while end > start and written.characters[end - 1].isspace():
                end -= 1
            inserted[start].append(mark.opening)
            _place(written, inner, start, end, inserted, spaces)
            inserted[end].append(mark.closing)
            low = end
        else:
            low = _border(written, mark.start, low, high)
            inserted[low].append(_spaced(written.characters, low, mark, spaces))


def _border(written: Written, place: int, low: int, high: int) -> int:
    """Where the translation of what is before a place of the source ends, as far as its order allows that.

    Of all borders the one with the fewest characters on the wrong side, and of those the last.
    """
    steps = [(0 if at < 0 else 1 if at < place else -1) for at in written.places[low:high]]
    totals = list(accumulate(steps, initial=0))
    most = max(totals)
    return low + len(totals) - 1 - totals[::-1].index(most)


def stretch(written: Written, start: int, end: int, low: int, high: int) -> tuple[int, int]:
    """The stretch, between two places of a translation, that has most of what attends to a stretch of the source and
    least of what does not; empty where nothing does.
    """
    best, best_start, best_end = 0, high, high
    total, begin = 0, low
    for index in range(low, high):
        at = written.places[index]
        total += 0 if at < 0 else 1 if start <= at < end else -1
        if total > best:
            best, best_start, best_end = total, begin, index + 1
        if total < 0:
            total, begin = 0, index + 1
    if not best:
        best_start = best_end = _border(written, start, low, high)
    return best_start, best_end


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
