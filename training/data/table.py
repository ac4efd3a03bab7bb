"""Your own files: bytes to text, and the two columns of a CSV, TSV or JSONL file with the lines they stand in.

Knows neither classes nor languages: whoever reads a file says which names its columns may have.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from models.errors import DataError
from training.data.corpus import Origin, text_of
from training.data.usage import Unused, Usage

LONGEST = 20_000  # characters of a cell; a row with a longer one is left out: a quote or a line end is missing there
_CONTAINERS = ((b"\x1f\x8b", "gzip", "name it with .gz at its end"), (b"PK\x03\x04", "a zip archive or a workbook",
               "save it as CSV or take the file out"))  # fmt: skip
_OTHER_SPACE = "\ufeff"  # a byte order mark within the text: where files were joined

Format = Literal["csv", "tsv", "jsonl"]


class Row(NamedTuple):
    """A record of two columns."""

    line: int  # of the file, from 1, in which it begins
    first: str  # without white space around it
    second: str


@dataclass(frozen=True)
class Table:
    """What a file holds."""

    rows: tuple[Row, ...]
    raw: bytes  # as read, for the digest
    usage: Usage


def own_bytes(path: Path, key: str, what: str) -> bytes:
    """A file's bytes.

    Args:
        path: the file.
        key: of the recipe, which names it.
        what: it should hold, for the message.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); {key} names {what}.") from None


def own_origin(path: Path) -> Origin:
    """Of a file of your own."""
    return Origin(title=path.name, upstream=f"your own file {path.name}", licence="as you say; none was stated")


def own_text(raw: bytes, where: str) -> str:
    """The text of a file of your own, with LF line ends, without a byte order mark.

    Args:
        raw: its bytes.
        where: its name, for the message; one that ends in .gz is gzipped.

    Raises:
        DataError: it is not a whole gzip file, not UTF-8, has NUL bytes, or ends its lines with CR alone.
    """
    for start, name, remedy in _CONTAINERS:
        if raw.startswith(start) and not where.endswith(".gz"):
            raise DataError(f"{where} is {name}, not text; {remedy}.")
    text = text_of(raw, where)
    nul = text.find("\0")
    if nul >= 0:
        line = text.count("\n", 0, nul) + 1
        raise DataError(f"{where} line {line} holds a NUL byte; take it out, or convert the file if it is not UTF-8.")
    if "\r" in text and "\n" not in text:
        raise DataError(f"{where} ends its lines with CR alone; convert it: tr '\\r' '\\n' < OLD > NEW.")
    return text


def format_of(path: Path) -> Format:
    """By the file's ending, before .gz: .csv; .jsonl, .ndjson and .json; everything else has tabs."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    ending = suffixes[-1] if suffixes else ""
    if ending in (".jsonl", ".ndjson", ".json"):
        return "jsonl"
    return "csv" if ending == ".csv" else "tsv"


def read_table(path: Path, names: tuple[Sequence[str], Sequence[str]], *, key: str, unit: str) -> Table:
    """The two columns of a file, plain or .gz.

    CSV and TSV may begin with a header; then columns are found by their names, otherwise the first two are read.

    Args:
        path: the file; its ending says the format.
        names: what each of the two columns may be called, in lower case, the best name first.
        key: of the recipe, which names the file.
        unit: what a row is, in the plural.

    Raises:
        DataError: it cannot be read or holds no row, or a row has the wrong number of columns; the message names the
            line.
    """
    where = str(path)
    columns = f"{names[0][0]} and {names[1][0]}"
    raw = own_bytes(path, key, f"a file of {unit} with the columns {columns}")
    text, usage = own_text(raw, where), Usage()
    kind = format_of(path)
    if kind == "jsonl":
        rows = list(_json_rows(text, where, names))
    else:
        records = list(csv_records(text, where) if kind == "csv" else _tab_records(text))
        records = [(line, [cell.replace(_OTHER_SPACE, "").strip() for cell in cells]) for line, cells in records]
        at = _header(records[0], where, names) if records else None
        if at is not None:
            line, head = records.pop(0)
            usage = usage.with_notes(
                f"{path.name} line {line} is read as a header: {head[at[0]]} and {head[at[1]]} are the columns that "
                "count"
            )
        _check_widths(records if at is None else [(line, head), *records], where, columns, kind)
        if at is None and records and len(records[0][1]) > 2:
            usage = usage.with_notes(
                f"{path.name} has {len(records[0][1])} columns; the first two are read, as {columns}"
            )
        first, second = at or (0, 1)
        rows = [Row(line, cells[first], cells[second]) for line, cells in records]
    if not rows:
        raise DataError(f"{where} holds no row; write lines with the columns {columns}.")
    kept = tuple(row for row in rows if max(len(row.first), len(row.second)) <= LONGEST)
    too_long = Unused(path.name, unit, len(rows), len(rows) - len(kept), f"have more than {LONGEST:,} characters", key)
    return Table(kept, raw, usage.with_unused(too_long))


TEXT_NAMES = ("text", "sentence", "review", "content", "comment")


def read_documents(text: str, path: Path) -> tuple[list[tuple[int, str]], Usage] | None:
    """The texts of a JSONL file, or of the column of a CSV or TSV file whose header names it.

    Args:
        text: the file's, as of `own_text`.
        path: its name; the ending says the format.

    Returns:
        The line in which each begins, and the text; what is said of them. None of a file that is one plain text.

    Raises:
        DataError: a record is malformed; the message names the line.
    """
    where, kind = str(path), format_of(path)
    if kind == "jsonl":
        return [(row.line, row.first) for row in _json_rows(text, where, (TEXT_NAMES, TEXT_NAMES))], Usage()
    if kind == "tsv" and not {".tsv", ".tab"} & {suffix.lower() for suffix in path.suffixes}:
        return None
    records = csv_records(text, where) if kind == "csv" else _tab_records(text)
    try:
        line, head = next(records, (0, []))
    except DataError:  # the first line is not CSV, so it is no header
        return None
    lowered = [cell.replace(_OTHER_SPACE, "").strip().lower() for cell in head]
    found = [name for name in TEXT_NAMES if name in lowered]
    if not found:
        return None
    at = lowered.index(found[0])
    documents = []
    for number, cells in records:
        if len(cells) != len(head):
            raise DataError(f"{where} line {number} has {len(cells)} columns, and line {line} has {len(head)}.")
        documents.append((number, cells[at].replace(_OTHER_SPACE, "").strip()))
    note = f"{path.name} line {line} is read as a header: each row's {head[at].strip()} is a text of its own"
    return documents, Usage().with_notes(note)


def _tab_records(text: str) -> Iterator[tuple[int, list[str]]]:
    """Of each line that is not blank its number and cells; quotes are part of the text."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line.split("\t")


def csv_records(text: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """Of each record that is not blank the line in which it begins, from 1, and its cells.

    Args:
        text: of a CSV file, with LF line ends.
        where: the file's name, for the message.

    Raises:
        DataError: a quote is not closed, or the like; the message names the line in which the record begins.
    """
    reader = csv.reader((f"{line}\n" for line in text.split("\n")), strict=True)
    while True:
        begin = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{where}: the record that begins in line {begin} is not CSV ({error}); a quote is missing or too "
                'many, or a line end is CR alone. Quote a text with commas or quotes, and write "" for a quote in it.'
            ) from None
        if any(cell.strip() for cell in cells):
            yield begin, cells


def _json_rows(text: str, where: str, names: tuple[Sequence[str], Sequence[str]]) -> Iterator[Row]:
    if text.lstrip().startswith("["):
        raise DataError(f"{where} is one JSON list; write one object a line (JSONL): jq -c '.[]' OLD > NEW.")
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            message = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep or a number too long"
            raise DataError(f"{where} line {number} is not JSON ({message}); write one object a line.") from None
        if not isinstance(item, dict):
            raise DataError(f"{where} line {number} is not a JSON object; write one with a key for each column.")
        lowered = {str(key).lower(): value for key, value in item.items()}
        cells = []
        for allowed in names:
            found = [name for name in allowed if name in lowered]
            if not found:
                raise DataError(
                    f"{where} line {number} has the keys {', '.join(map(str, item))[:80] or 'none'}; one of "
                    f"{', '.join(allowed)} is needed."
                )
            cells.append(_json_text(lowered[found[0]], f"{where} line {number}: {found[0]}"))
        yield Row(number, *cells)


def _json_text(value: Any, where: str) -> str:
    """A string, or a number or truth value as JSON writes it. Raises DataError."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if not isinstance(value, str):
        raise DataError(f"{where} is {json.dumps(value)[:40]}; allowed: a string.")
    text = value.replace("\r\n", "\n").replace(_OTHER_SPACE, "").strip()
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise DataError(f"{where} holds a NUL or half of a surrogate pair; take it out.")
    return text


def _header(
    record: tuple[int, list[str]], where: str, names: tuple[Sequence[str], Sequence[str]]
) -> tuple[int, int] | None:
    """Where the two columns stand by the names in the first record; None where it names neither or has one cell.

    Raises:
        DataError: it names one of them, or one twice.
    """
    line, cells = record
    lowered = [cell.lower() for cell in cells]
    found = [[name for name in allowed if name in lowered] for allowed in names]
    if not any(found) or sum(map(bool, cells)) < 2:
        return None
    if not all(found):
        named, missing = (0, 1) if found[0] else (1, 0)
        raise DataError(
            f"{where} line {line} names the column {found[named][0]} and none of {', '.join(names[missing])}; name "
            "both columns or take the line out. If it is no header, put another line first."
        )
    first, second = found[0][0], found[1][0]
    if lowered.count(first) > 1 or lowered.count(second) > 1:
        raise DataError(f"{where} line {line} names a column twice; name each once.")
    return lowered.index(first), lowered.index(second)


def _check_widths(records: Sequence[tuple[int, list[str]]], where: str, columns: str, kind: Format) -> None:
    """Raises DataError for the first record that has fewer than two cells, or not as many as the first one."""
    separator = "commas" if kind == "csv" else "tabs"
    for line, cells in records:
        if len(cells) < 2:
            raise DataError(
                f"{where} line {line} has {len(cells)} columns, 2 are needed, {columns}; {separator} separate them."
            )
        if len(cells) != len(records[0][1]):
            quote = "; quote a text with commas" if kind == "csv" else ""
            raise DataError(
                f"{where} line {line} has {len(cells)} columns, and line {records[0][0]} has {len(records[0][1])}; "
                f"{separator} separate them, and each line needs as many{quote}."
            )
