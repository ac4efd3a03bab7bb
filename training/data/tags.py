"""Sentences with a tag for each word: what a loader returns, the formats, and your own file."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from models.errors import DataError
from models.spans import are_span_tags
from models.words import Span, SplitterKind
from training.data.corpus import Origin, digest, text_of

FileFormat = Literal["conllu", "columns", "tsv"]
ConlluColumn = Literal["upos", "xpos"]
_COLUMN = {"upos": 3, "xpos": 4}
_SHUFFLE_SEED = 42  # part of the split, so not the recipe's seed


class Tagged(NamedTuple):
    """A sentence.

    Attributes:
        words: at least one, none empty.
        tags: of each word.
        text: as it was written, where the data says.
        spans: of each word its characters in the text, where they are known.
        tokens: likewise those of its token, which are more where that is a multiword token.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    text: str | None = None
    spans: tuple[Span, ...] | None = None
    tokens: tuple[Span, ...] | None = None


@dataclass(frozen=True)
class TagCorpus:
    """A data set of tagged sentences in memory."""

    name: str
    origin: Origin
    train: tuple[Tagged, ...]
    validation: tuple[Tagged, ...]
    sha256: str  # of the raw bytes that were read
    splitter: SplitterKind  # how raw text becomes words like these
    num_repaired: int = 0  # tags I-x with nothing before them to continue, read as B-x

    @property
    def is_bio(self) -> bool:
        """Whether the tags are those of spans: O, B-x, I-x."""
        return are_span_tags({tag for sentence in self.train for tag in sentence.tags})


def repaired(sentence: Tagged) -> tuple[Tagged, int]:
    """The sentence with B-x for each I-x that continues no span of x, as conlleval reads it; how many there were."""
    tags, count, before = [], 0, "O"
    for tag in sentence.tags:
        if tag.startswith("I-") and before[2:] != tag[2:]:
            tag, count = f"B-{tag[2:]}", count + 1
        tags.append(tag)
        before = tag
    return sentence._replace(tags=tuple(tags)), count


def corpus_of(
    name: str,
    origin: Origin,
    parts: tuple[Sequence[Tagged], Sequence[Tagged]],
    raw: Sequence[bytes],
    splitter: SplitterKind,
) -> TagCorpus:
    """A corpus of a training and a validation part; spans are repaired.

    Raises:
        DataError: a part is empty, there is one tag alone, or a tag occurs in the validation part only.
    """
    train, validation = parts
    for part, sentences in (("training", train), ("validation", validation)):
        if not sentences:
            raise DataError(f"{name}: the {part} part holds no sentence; use more data.")
    known = {tag for sentence in train for tag in sentence.tags}
    num_repaired = 0
    if are_span_tags(known | {tag for sentence in validation for tag in sentence.tags}):
        fixed = [[repaired(sentence) for sentence in part] for part in parts]
        num_repaired = sum(count for part in fixed for _, count in part)
        train, validation = ([sentence for sentence, _ in part] for part in fixed)
        known = {tag for sentence in train for tag in sentence.tags}
    strange = sorted({tag for sentence in validation for tag in sentence.tags} - known)
    if len(known) < 2 or strange:
        raise DataError(
            f"{name}: training sentences have the tags {', '.join(sorted(known))[:200]}, validation sentences also "
            f"{', '.join(strange) or 'none'}; at least two are needed, each in the training part."
        )
    return TagCorpus(name, origin, tuple(train), tuple(validation), digest(*raw), splitter, num_repaired)


def conllu(raw: bytes, where: str, column: ConlluColumn = "upos") -> list[Tagged]:
    """CoNLL-U: of a multiword token its words, no empty nodes.

    Args:
        raw: the file's bytes.
        where: its name, for the message; one that ends in .gz is gzipped.
        column: which tags.

    Raises:
        DataError: it is not UTF-8, or a line is not one of CoNLL-U.
    """
    return [_conllu_sentence(block, where, _COLUMN[column]) for block in _blocks(text_of(raw, where))]


def _conllu_sentence(block: list[tuple[int, str]], where: str, column: int) -> Tagged:
    words, tags, text = [], [], None
    ranges: dict[int, tuple[int, str]] = {}  # first word of a multiword token -> last word, its form
    for number, line in block:
        if line.startswith("#"):
            text = line[len("# text = ") :] if line.startswith("# text = ") else text
            continue
        row = line.split("\t")
        if len(row) != 10:
            raise DataError(f"{where} line {number} has {len(row)} columns; CoNLL-U has 10, tabs separate them.")
        if "." in row[0]:
            continue
        first, dash, last = row[0].partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise DataError(f"{where} line {number}: id {row[0][:20]!r}; allowed: 1, 1-2, 1.1.")
        if dash:
            ranges[int(first)] = (int(last), row[1])
            continue
        if not row[1].strip() or row[column] in ("", "_"):
            raise DataError(f"{where} line {number} has no form or no tag in column {column + 1}; write both.")
        words.append(row[1])
        tags.append(row[column])
    if not words:
        raise DataError(f"{where} line {block[0][0]}: a sentence without words; leave it out.")
    found = None if text is None else _spans(text, words, ranges)
    return Tagged(tuple(words), tuple(tags), text, *(found or ()))


def _spans(
    text: str, words: Sequence[str], ranges: dict[int, tuple[int, str]]
) -> tuple[tuple[Span, ...], tuple[Span, ...]] | None:
    """Where the words and their tokens stand in the text; None where the text does not hold them.

    Of a multiword token whose words do not join to its form, each has the whole form's place.
    """
    found: list[Span] = []
    tokens: list[Span] = []
    position, number = 0, 1
    while number <= len(words):
        last, form = ranges.get(number, (number, words[number - 1]))
        start = text.find(form, position)
        if start < 0:
            return None
        parts = words[number - 1 : last]
        position = start
        for part in parts if "".join(parts) == form else ():
            found.append((position, position + len(part)))
            position += len(part)
        position = start + len(form)
        found += [(start, position)] * (last - len(found))
        tokens += [(start, position)] * len(parts)
        number = last + 1
    return tuple(found), tuple(tokens)


def columns(raw: bytes, where: str, *, separator: str | None = None) -> list[Tagged]:
    """CoNLL columns: a line a word, its first column the word and its last the tag, an empty line between sentences.

    Args:
        raw: the file's bytes.
        where: its name, for the message; one that ends in .gz is gzipped.
        separator: of the columns; None: any white space.

    Raises:
        DataError: it is not UTF-8, or a line has one column alone.
    """
    return list(_column_sentences(text_of(raw, where), where, separator))


def _column_sentences(text: str, where: str, separator: str | None) -> Iterator[Tagged]:
    for block in _blocks(text):
        words, tags = [], []
        for number, line in block:
            row = line.split(separator)
            if row[0] == "-DOCSTART-":
                continue
            if len(row) < 2 or not row[0].strip() or not row[-1].strip():
                raise DataError(f"{where} line {number}: {line[:40]!r} has no word or no tag; write WORD<TAB>TAG.")
            words.append(row[0].strip())
            tags.append(row[-1].strip())
        if words:
            yield Tagged(tuple(words), tuple(tags))


def _blocks(text: str) -> Iterator[list[tuple[int, str]]]:
    """The lines between empty lines, with their numbers counted from 1."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


def tags_file(
    path: Path,
    file_format: FileFormat,
    *,
    validation_share: float,
    splitter: SplitterKind,
    column: ConlluColumn = "upos",
) -> TagCorpus:
    """Your own tagged sentences: a UTF-8 file, plain or .gz.

    Args:
        path: the file.
        file_format: "conllu", "columns" (white space), or "tsv" (tabs, so that words may hold spaces).
        validation_share: of the sentences, drawn with a fixed seed.
        splitter: how raw text becomes words like these.
        column: with "conllu", which tags.

    Raises:
        DataError: it cannot be read, a line is malformed, or it is too short.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); path names a file of tagged sentences.") from None
    match file_format:
        case "conllu":
            sentences = conllu(raw, str(path), column)
        case "columns":
            sentences = columns(raw, str(path))
        case "tsv":
            sentences = columns(raw, str(path), separator="\t")
    origin = Origin(title=path.name, upstream=f"your own file {path.name}", licence="as you say; none was stated")
    parts = split(sentences, validation_share, str(path))
    return corpus_of("tags-file", origin, parts, [raw], splitter)


def split(
    sentences: Sequence[Tagged], validation_share: float, name: str
) -> tuple[tuple[Tagged, ...], tuple[Tagged, ...]]:
    """The training and the validation part, drawn with a fixed seed; equal sentences are in one part.

    Raises:
        DataError: a part would be empty.
    """
    distinct = list(dict.fromkeys(sentence.words for sentence in sentences))
    held_out = round(len(distinct) * validation_share)
    if not 0 < held_out < len(distinct):
        raise DataError(f"{name}: {len(distinct)} sentences cannot be split, {held_out} of them held out; use more.")
    random.Random(_SHUFFLE_SEED).shuffle(distinct)
    chosen = set(distinct[:held_out])
    return (
        tuple(sentence for sentence in sentences if sentence.words not in chosen),
        tuple(sentence for sentence in sentences if sentence.words in chosen),
    )
