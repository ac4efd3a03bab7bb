"""HTML whose text is translated: what is text and what stays exactly as it is.

A document is cut at the tags of blocks, which are copied as they are written, and at what is not text (scripts, code).
What is left are stretches of text with the tags of inline elements in them, which stay around the same words.

The standard library's parser is not used: it takes minutes for 60 kB of "<a " (its time grows with their square), and
neither it nor BeautifulSoup gives a tag back as it was written.
"""

import html
import re
from dataclasses import dataclass

from server.text.passage import Edge

_INLINE_NAMES = (
    "a abbr acronym b bdi bdo big cite data del dfn em font i img ins label mark q s small span strike strong sub sup "
    "time tt u wbr"
)
_KEPT_NAMES = (
    "script style pre textarea svg math iframe object noscript template audio video canvas head"  # between sentences
)
_INLINE = frozenset(_INLINE_NAMES.split())
_VOID = frozenset({"img", "wbr"})
_KEPT_INLINE = frozenset({"code", "kbd", "samp", "var"})  # not translated, within a sentence
_KEPT = frozenset(_KEPT_NAMES.split())  # not translated
_TAG = re.compile(r"""<(?P<closes>/?)(?P<name>[A-Za-z][^\s/>]*+)(?:[^"'>]|"[^"]*+"|'[^']*+')*+>""")
_OTHER = re.compile(r"<!--|<[!?]")
_NOT_TRANSLATED = re.compile(
    r"""\btranslate\s*=\s*["']?no\b|\bclass\s*=\s*(["'])[^"']*\bnotranslate\b""", re.IGNORECASE
)


@dataclass
class Stretch:
    """Text with inline tags in it.

    Attributes:
        raw: as it is written.
        text: the text, without tags and character references.
        edges: the tags.
    """

    raw: str
    text: str
    edges: list[Edge]


def parts_of(document: str) -> list[str | Stretch]:
    """A document's parts in order: strings stay as they are, stretches are text."""
    return _Parser(document).parts


class _Parser:
    """Reads a document once, from its beginning to its end."""

    def __init__(self, document: str) -> None:
        self.parts: list[str | Stretch] = []
        self._document = document
        self._lower = document.lower()
        self._begin_stretch()
        position = 0
        while position < len(document):
            position = self._next(position)
        self._end_stretch()

    def _begin_stretch(self) -> None:
        self._raw: list[str] = []
        self._text: list[str] = []
        self._edges: list[Edge] = []
        self._length = 0  # of the text
        self._open: list[tuple[str, int]] = []  # elements that are open: their names and the numbers of their tags
        self._open_by_name: dict[str, list[int]] = {}  # of each name, which of them have it

    def _next(self, position: int) -> int:
        """Read what stands at a position; where the next thing begins."""
        document = self._document
        start = document.find("<", position)
        if start < 0:
            start = len(document)
        if start > position:
            self._add_text(document[position:start])
            return start
        other = _OTHER.match(document, start)
        if other is not None:
            mark = "-->" if other[0] == "<!--" else ">"
            end = document.find(mark, other.end())
            end = len(document) if end < 0 else end + len(mark)
            self._add_edge(document[start:end])
            return end
        if not re.match(r"</?[A-Za-z]", document[start : start + 3]):
            self._add_text("<")
            return start + 1
        tag = _TAG.match(document, start)
        if tag is None:  # it never ends, and what follows is part of it
            self._add_kept(document[start:])
            return len(document)
        return self._add_tag(tag)

    def _add_tag(self, tag: re.Match[str]) -> int:
        name, raw, closes = tag["name"].lower(), tag[0], bool(tag["closes"])
        is_kept = name in _KEPT | _KEPT_INLINE or _NOT_TRANSLATED.search(raw) is not None
        if is_kept and not closes and not raw.endswith("/>") and name not in _VOID:
            end = self._end_of(name, tag.end())
            whole = self._document[tag.start() : end]
            if name in _INLINE | _KEPT_INLINE:
                self._add_edge(whole)
            else:
                self._add_kept(whole)
            return end
        if name not in _INLINE:
            self._add_kept(raw)
        elif closes:
            self._close(name, raw)
        else:
            is_void = name in _VOID or raw.endswith("/>")
            if not is_void:
                self._open_by_name.setdefault(name, []).append(len(self._open))
                self._open.append((name, len(self._edges)))
            self._add_edge(raw, is_opening=not is_void)
        return tag.end()

    def _close(self, name: str, raw: str) -> None:
        """The closing tag of an inline element; those that it has still open are closed by it."""
        depths = self._open_by_name.get(name)
        if not depths:
            self._add_edge(raw)
            return
        depth = depths[-1]
        opening = self._open[depth][1]
        while len(self._open) > depth:
            self._open_by_name[self._open.pop()[0]].pop()
        self._edges[opening] = self._edges[opening]._replace(partner=len(self._edges))
        self._add_edge(raw, partner=opening)

    def _end_of(self, name: str, position: int) -> int:
        """Where an element that is not translated ends; those of the same name within it are skipped."""
        depth = 1
        for tag in re.compile(rf"<(/?){re.escape(name)}(?![\w-])[^>]*>").finditer(self._lower, position):
            depth += -1 if tag[1] else 0 if tag[0].endswith("/>") else 1
            if not depth or name in ("script", "style", "textarea"):
                return tag.end()
        return len(self._document)

    def _add_text(self, raw: str) -> None:
        text = html.unescape(raw)
        self._raw.append(raw)
        self._text.append(text)
        self._length += len(text)

    def _add_edge(self, raw: str, *, partner: int | None = None, is_opening: bool = False) -> None:
        self._raw.append(raw)
        self._edges.append(Edge(self._length, raw, partner, is_opening))

    def _add_kept(self, raw: str) -> None:
        self._end_stretch()
        self.parts.append(raw)

    def _end_stretch(self) -> None:
        raw, text = "".join(self._raw), "".join(self._text)
        if text.strip():
            self.parts.append(Stretch(raw, text, self._edges))
        elif raw:
            self.parts.append(raw)
        self._begin_stretch()
