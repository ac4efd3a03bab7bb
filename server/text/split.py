"""Where the sentences of a text are: lines, list markers, then sentencex, and what it lacks.

sentencex (https://github.com/wikimedia/sentencex) knows the abbreviations of many languages and gives exact offsets.
Added here: list markers and enumerations, which are no part of a sentence; lines; abbreviations that it does not know,
French ones above all; quotations with who said them; what follows a closing bracket or an ellipsis.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sentencex import get_sentence_boundaries

_MOST = 2000  # characters for one call of sentencex, whose time grows with their square where quotes never close
_TAIL = 40  # characters of a piece that say whether the next one belongs to it
_WRAPPED = 40  # characters from which a line that is not ended may go on in the next one

_LINE = re.compile(r"[^\n\r\v\f\u2028\u2029]+")
_MARKER = re.compile(
    r"""\s*(?:
        [-*+•‣◦▪●○·–—>#]+\s+                                   # - item, > quotation, ## heading
      | \[[ xX]?\]\s+                                            # [ ] to do
      | \(?(?:\d{1,3}(?:\.\d{1,3})*|[a-zA-Z]|[ivxIVX]{2,5})\)\s+   # 1) a) (iv)
      | \d{1,3}(?:\.\d{1,3})*\.(?:\s+|(?=[^\W\d_]))             # 1. 2.3.
      | (?:[a-z]|[ivx]{2,5}|[IVX]{2,5})\.\s+                     # a. iv.
      | [（(][一二三四五六七八九十\d]{1,3}[)）]\s*                # （一）
      | [一二三四五六七八九十]{1,3}、\s*                          # 一、
      | [\u2460-\u2473]\s*                                       # circled digits
    )""",
    re.VERBOSE,
)
_ENUMERATOR = re.compile(r"\(?(?:\d{1,3}|[a-z]|[ivx]{2,5})[.)]")
_ENDED = re.compile(r"""[.!?…。！？:：;；]["'”’»」』)）\]]*\s*$""")
_FURTHER = re.compile(
    r"""(?:(?<=[.!?…]["'”’»)\]])|(?<=…))\s+(?=["'“‘«(\[]?[A-ZÀ-ÖØ-Þ])   # (He left.) She stayed.
      | (?<=[。！？]）)(?=[^\W\d_])                                       # （真的吗？）是的。
    """,
    re.VERBOSE,
)
_ABBREVIATIONS = {
    "en": "approx temp est dept tel ext ed eds vol vols ch sec eq eqs figs pp al incl excl misc hr hrs oz lb lbs ft sq",
    "fr": "m mm dr prof pr me mgr mme mmes mlle mlles st ste av bd art chap cf env p pp ex vol éd fig tél janv févr "
    "juill sept oct nov déc hab max min",
    "de": "z b d h u a bzw ca dr prof nr str tel vgl evtl ggf inkl usw",
    "es": "sr sra srta dr dra prof pág págs ud uds av núm tel",
    "it": "sig sigg dott prof ing avv pag es art",
    "pt": "sr sra dr dra prof pág av núm",
}
_LAST_WORD = re.compile(r"(?:^|[\s(\[«“\"'’])([^\W\d_]+)\.\s*$")
_INITIAL = re.compile(r"(?:^|[\s(\[«“\"'])(?:[^\W\d_]\.[- ]?)*[A-ZÀ-ÖØ-Þ]\.\s*$")
_QUOTED = re.compile(r"""[.!?…。！？]["'”’»」』]\s*$""")
_SPEAKER = re.compile(
    r"""(?:[A-Z]\w+|he|she|they|I|we)\s(?:said|says|asked|cried|replied|answered|shouted|whispered|added)\b
      | (?:dit|demanda|demande|répondit|cria|murmura|ajouta)-?\b
      | [\u4e00-\u9fff]{1,5}?(?:说|道|问|答|喊|叫)[^\u4e00-\u9fff：:]
    """,
    re.VERBOSE,
)
_CLAUSE = re.compile(
    r"[,;:，；：、—–)）]\s*(?=\S)|\s+(?=(?:and|but|or|because|which|that|when|while|if|et|mais|ou|car|que|qui|und|aber)\s)"
)


class Span(NamedTuple):
    """A stretch of a text, by its characters."""

    start: int
    end: int


def sentences(text: str, language: str) -> list[Span]:
    """The sentences of a text, in order, without the white space and list markers around them.

    Args:
        text: any text.
        language: ISO 639-1; of one without rules of its own, those that most languages share hold.

    Returns:
        Spans that are not empty and do not overlap; outside of them are white space and list markers alone.
    """
    return [span for block in _blocks(text) for span in _sentences_of(text, block, language)]


def cut(text: str, span: Span, is_short: Callable[[str], bool]) -> list[Span]:
    """A sentence in parts that are short enough, cut where a clause ends, else between words, else anywhere.

    Args:
        text: where it stands.
        span: the sentence.
        is_short: whether a part may stay whole; every part of one character is taken to be.
    """
    waiting, parts = [span], []
    while waiting:
        start, end = waiting.pop()
        if end - start < 2 or is_short(text[start:end]):
            parts.append(_stripped(text, start, end))
            continue
        middle = _middle(text, start, end)
        waiting += [Span(middle, end), Span(start, middle)]
    return [part for part in parts if part.end > part.start]


def _middle(text: str, start: int, end: int) -> int:
    """Where to cut a stretch in two."""
    length = end - start
    for pattern, margin in ((_CLAUSE, length // 5), (re.compile(r"\s+(?=\S)"), 0)):
        ends = [match.end() for match in pattern.finditer(text, start + 1, end)]
        ends = [place for place in ends if start + margin < place < end - margin]
        if ends:
            return min(ends, key=lambda place: abs(2 * place - start - end))
    return start + length // 2


def _blocks(text: str) -> Iterator[Span]:
    """Lines without their list markers; a line that was wrapped is one with those that it goes on in."""
    start = end = -1
    for line in _LINE.finditer(text):
        begin = line.start()
        while (marker := _MARKER.match(text, begin, line.end())) is not None and marker.end() > begin:
            begin = marker.end()
        if end >= 0:
            is_next = re.fullmatch(r"\r?\n", text[end : line.start()]) is not None
            previous = text[start:end]
            first = text[line.start()]  # of the line itself: a marker begins a new block
            if is_next and first.islower() and begin == line.start() and _goes_on(previous):
                end = line.end()
                continue
            yield Span(start, end)
        start, end = begin, line.end()
    if end >= 0:
        yield Span(start, end)


def _goes_on(block: str) -> bool:
    """Whether a block's last line is as long as wrapped lines are, and is not ended."""
    last = block.rpartition("\n")[2]
    return len(last) >= _WRAPPED and not _ENDED.search(last)


def _sentences_of(text: str, block: Span, language: str) -> list[Span]:
    """The sentences of one block."""
    found: list[Span] = []
    for piece in _further(text, _pieces(text, block, language)):
        span = _stripped(text, *piece)
        if span.start == span.end:
            continue
        if found and _belongs_together(text, found[-1], span, language):
            found[-1] = Span(found[-1].start, span.end)
        else:
            found.append(span)
    return [span for span in found if not _ENUMERATOR.fullmatch(text, *span)]


def _pieces(text: str, block: Span, language: str) -> Iterator[Span]:
    """What sentencex finds."""
    start = block.start
    while start < block.end:
        end = min(block.end, start + _MOST)
        if end < block.end:  # cut where a sentence may end, at a space at least
            places = [text.rfind(mark, start + 1, end) for mark in (". ", "! ", "? ", "。", "！", "？")]
            end = 1 + (max(places) if max(places) > 0 else max(text.rfind(" ", start + 1, end), end - 1))
        for boundary in get_sentence_boundaries(language, text[start:end]):
            yield Span(start + boundary["start_index"], start + boundary["end_index"])
        start = end


def _further(text: str, pieces: Iterator[Span]) -> Iterator[Span]:
    """The same, cut where sentencex does not."""
    for start, end in pieces:
        begin = start
        for match in _FURTHER.finditer(text, start, end):
            yield Span(begin, match.start())
            begin = match.end()
        yield Span(begin, end)


def _belongs_together(text: str, first: Span, second: Span, language: str) -> bool:
    """Whether two pieces are one sentence."""
    before, after = text[max(first.start, first.end - _TAIL) : first.end], text[second.start : second.end]
    if before.endswith(".") and first.end == second.start and not after.startswith("\n"):
        return (after[0].isalnum() or after[0] == "-") and before[-2:-1].isalnum()  # example.com, U.S.A., J.-C.
    word = _LAST_WORD.search(before)
    if word is not None and word[1].lower() in _ABBREVIATIONS.get(language, "").split():
        return word[1].lower() != "etc"
    if language != "en" and not after[0].isspace() and _INITIAL.search(before):
        return True  # J. Dupont; sentencex does so for English
    return _QUOTED.search(before) is not None and _SPEAKER.match(after) is not None


def _stripped(text: str, start: int, end: int) -> Span:
    """A stretch without the white space around it."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return Span(start, end)
