"""Sentences with a tag for each word: what a loader returns, the formats, and your own file."""

import csv
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from models.errors import DataError
from models.spans import are_span_tags
from models.words import Span, SplitterKind
from training.data.corpus import Origin, digest, text_of
from training.data.table import LONGEST, own_bytes, own_origin, own_text
from training.data.usage import ALL_USED, Unused, Usage

FileFormat = Literal["conllu", "columns", "tsv", "csv", "jsonl"]
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
    test: tuple[Tagged, ...] = ()  # measured at the end beside the validation part
    usage: Usage = ALL_USED

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
    *,
    test: Sequence[Tagged] = (),
    usage: Usage = ALL_USED,
) -> TagCorpus:
    """A corpus of a training and a validation part, and perhaps a test part; spans are repaired.

    Raises:
        DataError: a part is empty, there is one tag alone, or a tag occurs in the validation or test part only.
    """
    train, validation = parts
    for part, sentences in (("training", train), ("validation", validation)):
        if not sentences:
            raise DataError(f"{name}: the {part} part holds no sentence; use more data.")
    known = {tag for sentence in train for tag in sentence.tags}
    num_repaired = 0
    held_out = (*validation, *test)
    num_tags = sum(len(sentence.tags) for sentence in (*train, *held_out))
    if are_span_tags(known | {tag for sentence in held_out for tag in sentence.tags}):
        fixed = [[repaired(sentence) for sentence in part] for part in (train, validation, test)]
        num_repaired = sum(count for part in fixed for _, count in part)
        train, validation, test = ([sentence for sentence, _ in part] for part in fixed)
        known = {tag for sentence in train for tag in sentence.tags}
    reason = "are I-x with nothing before them to continue, read as B-x"
    usage = usage.with_unused(Unused(name, "tags", num_tags, num_repaired, reason, "data.dataset", is_used=True))
    strange = sorted({tag for sentence in (*validation, *test) for tag in sentence.tags} - known)
    if len(known) < 2 or strange:
        others = "validation and test" if test else "validation"
        raise DataError(
            f"{name}: training sentences have the tags {', '.join(sorted(known))[:200]}, {others} sentences also "
            f"{', '.join(strange)[:200] or 'none'}; at least two are needed, each in the training part."
        )
    return TagCorpus(
        name, origin, tuple(train), tuple(validation), digest(*raw), splitter, num_repaired, tuple(test), usage
    )


def conllu(raw: bytes, where: str, column: ConlluColumn = "upos") -> list[Tagged]:
    """CoNLL-U: of a multiword token its words, no empty nodes.

    Args:
        raw: the file's bytes.
        where: its name, for the message; one that ends in .gz is gzipped.
        column: which tags.

    Raises:
        DataError: it is not UTF-8, or a line is not one of CoNLL-U.
    """
    return _conllu_sentences(text_of(raw, where), where, column)


def _conllu_sentences(text: str, where: str, column: ConlluColumn) -> list[Tagged]:
    return [_conllu_sentence(block, where, _COLUMN[column]) for block in _blocks(text)]


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
            row = _csv_row(line, f"{where} line {number}") if separator == "," else line.split(separator)
            if row[0] == "-DOCSTART-":
                continue
            if len(row) < 2 or not row[0].strip() or not row[-1].strip():
                raise DataError(f"{where} line {number}: {line[:40]!r} has no word or no tag; write WORD<TAB>TAG.")
            words.append(row[0].strip())
            tags.append(row[-1].strip())
        if words:
            yield Tagged(tuple(words), tuple(tags))


def _csv_row(line: str, where: str) -> list[str]:
    """A line's cells. Raises DataError."""
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise DataError(f'{where} is not CSV ({error}); write a word that is a quote as """".') from None


_WORD_NAMES = ("word", "words", "token", "tokens", "form")
_TAG_NAMES = ("tag", "tags", "label", "labels", "ner", "ner_tags", "pos", "upos")


def _without_header(text: str, name: str, file_format: FileFormat) -> tuple[str, list[str]]:
    """The text with its first line blank where that names the columns, and a note of it."""
    first, end, rest = text.partition("\n")
    separator = {"columns": None, "tsv": "\t"}.get(file_format, ",")
    cells = [cell.strip('" ').lower() for cell in first.split(separator)]
    if len(cells) < 2 or cells[0] not in _WORD_NAMES or cells[-1] not in _TAG_NAMES:
        return text, []
    return f"{end}{rest}", [f"{name} line 1 is read as a header: the first column is the word, the last the tag"]


def _json_sentences(text: str, where: str) -> Iterator[Tagged]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            raise DataError(f"{where} line {number} is not JSON; write one object a line.") from None
        found = []
        for names in (_WORD_NAMES, _TAG_NAMES):
            values = next((item[name] for name in names if name in item), None) if isinstance(item, dict) else None
            if not isinstance(values, list) or not all(isinstance(value, str) and value.strip() for value in values):
                raise DataError(f"{where} line {number} has no list of strings {names[1]}; none of them may be empty.")
            found.append(tuple(value.strip() for value in values))
        words, tags = found
        if len(words) != len(tags) or not words:
            raise DataError(f"{where} line {number} has {len(words)} words and {len(tags)} tags; write a tag for each.")
        if any("\ud800" <= character <= "\udfff" or character == "\0" for word in words for character in word):
            raise DataError(f"{where} line {number} holds a NUL or half of a surrogate pair; take it out.")
        yield Tagged(words, tags)


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
    validation_share: float | None,
    splitter: SplitterKind,
    column: ConlluColumn = "upos",
    validation_path: Path | None = None,
    test_path: Path | None = None,
) -> TagCorpus:
    """Your own tagged sentences: UTF-8 files, plain or .gz.

    Args:
        path: the training sentences, or all.
        file_format: "conllu", "columns" (white space), "tsv" (tabs, so that words may hold spaces), "csv", or "jsonl",
            an object a line with the lists words and tags.
        validation_share: of the sentences, drawn with a fixed seed; None with a validation_path.
        splitter: how raw text becomes words like these.
        column: with "conllu", which tags.
        validation_path: sentences that validate, of the same format.
        test_path: sentences that are measured at the end. A training sentence that is in one of these is left out.

    Raises:
        DataError: a file cannot be read, a line is malformed, or it is too short.
    """
    raw: list[bytes] = []
    usage = ALL_USED

    def part(path: Path, key: str) -> tuple[Tagged, ...]:
        nonlocal usage
        raw.append(own_bytes(path, key, "a file of tagged sentences"))
        where, text = str(path), own_text(raw[-1], str(path))
        match file_format:
            case "conllu":
                sentences = _conllu_sentences(text, where, column)
            case "jsonl":
                sentences = list(_json_sentences(text, where))
            case _:
                text, note = _without_header(text, path.name, file_format)
                usage = usage.with_notes(*note)
                separator = {"columns": None, "tsv": "\t", "csv": ","}[file_format]
                sentences = list(_column_sentences(text, where, separator))
        kept = tuple(item for item in sentences if sum(map(len, item.words)) <= LONGEST)
        lost = len(sentences) - len(kept)
        reason = f"have more than {LONGEST:,} characters; an empty line ends a sentence"
        usage = usage.with_unused(Unused(path.name, "sentences", len(sentences), lost, reason, key))
        return kept

    train = part(path, "data.path")
    validation = None if validation_path is None else part(validation_path, "data.validation_path")
    test = () if test_path is None else part(test_path, "data.test_path")
    for held_out, other, key in (
        (validation or (), validation_path, "data.validation_path"),
        (test, test_path, "data.test_path"),
    ):
        words = {sentence.words for sentence in held_out}
        kept = tuple(sentence for sentence in train if sentence.words not in words)
        lost = len(train) - len(kept)
        usage = usage.with_unused(
            Unused(path.name, "sentences", len(train), lost, f"are also in {other and other.name}", key)
        )
        train = kept
    if validation is None:
        assert validation_share is not None, "the recipe has been checked"
        train, validation = split(train, validation_share, str(path))
    return corpus_of("tags-file", own_origin(path), (train, validation), raw, splitter, test=test, usage=usage)


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
