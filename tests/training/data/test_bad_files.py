"""Forty files with faults: each ends in a right count, a right line number and a sentence, never in a traceback."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from models.bundle import Languages
from models.errors import DataError
from training.data.labels import labels_file
from training.data.pairs import pairs_file
from training.data.tags import tags_file
from training.data.texts import text_file
from training.data.usage import Usage

GOOD_LABELS = "".join(f"text {i}\t{'yes' if i % 2 else 'no'}\n" for i in range(20))
GOOD_PAIRS = "".join(f"sentence {i}\tphrase {i}\n" for i in range(20))
GOOD_TAGS = "".join(f"word{i}\tA\nmore\tB\n\n" for i in range(20))
LONG = "x" * 30_000


def labels(path: Path) -> tuple[int, Usage]:
    corpus = labels_file(path, 0.2)
    return len(corpus.train) + len(corpus.validation), corpus.usage


def pairs(path: Path) -> tuple[int, Usage]:
    corpus = pairs_file(path, Languages(source="en", target="fr"), 0.2)
    return len(corpus.train) + len(corpus.validation), corpus.usage


def tags(path: Path) -> tuple[int, Usage]:
    kinds = {".csv": "csv", ".jsonl": "jsonl", ".conllu": "conllu"}
    kind = kinds.get(path.suffix, "tsv")
    corpus = tags_file(path, kind, validation_share=0.2, splitter="words")  # type: ignore[arg-type]
    return len(corpus.train) + len(corpus.validation), corpus.usage


def text(path: Path) -> tuple[int, Usage]:
    corpus = text_file(path, 0.2)
    return sum(map(len, (*corpus.train, *corpus.validation))), corpus.usage


Read = Callable[[Path], tuple[int, Usage]]


class Refused(NamedTuple):
    """A file that is refused, with words of the message."""

    read: Read
    name: str
    content: str | bytes
    message: str


class Counted(NamedTuple):
    """A file that is read: how many examples are used, and the sentences about the others or about its form."""

    read: Read
    name: str
    content: str | bytes
    num_used: int
    sentences: tuple[str, ...] = ()


def csv_rows(*rows: str) -> str:
    return "\n".join(rows) + "\n" + GOOD_LABELS.replace("\t", ",")


REFUSED = [
    Refused(labels, "utf16.tsv", GOOD_LABELS.encode("utf-16"), "is UTF-16 by its byte order mark; convert it: iconv"),
    Refused(pairs, "utf16be.tsv", b"\xfe\xff" + GOOD_PAIRS.encode("utf-16-be"), "is UTF-16 by its byte order mark"),
    Refused(tags, "utf32.tsv", GOOD_TAGS.encode("utf-32"), "is UTF-32 by its byte order mark"),
    Refused(text, "utf16.txt", ("a text\n" * 9).encode("utf-16"), "is UTF-16 by its byte order mark"),
    Refused(labels, "nomark.tsv", GOOD_LABELS.encode("utf-16-le"), "line 1 holds a NUL byte"),
    Refused(pairs, "latin1.tsv", (GOOD_PAIRS + "caf\xe9\tcafe\n").encode("latin1"), r"at byte \d+ \(line 21\)"),
    Refused(labels, "nul.tsv", GOOD_LABELS + "a\0b\tyes\n", "line 21 holds a NUL byte; take it out"),
    Refused(tags, "nul.tsv", "wo\0rd\tA\n" + GOOD_TAGS, "line 1 holds a NUL byte"),
    Refused(text, "nul.txt", "one\ntwo\0\nthree\n", "line 2 holds a NUL byte"),
    Refused(labels, "mac.tsv", GOOD_LABELS.replace("\n", "\r"), "ends its lines with CR alone; convert it: tr"),
    Refused(pairs, "notgzip.tsv.gz", GOOD_PAIRS, "is not a whole gzip file"),
    Refused(pairs, "cut.tsv.gz", gzip.compress(GOOD_PAIRS.encode())[:-9], "is not a whole gzip file"),
    Refused(labels, "hidden.tsv", gzip.compress(GOOD_LABELS.encode()), "is gzip, not text; name it with .gz"),
    Refused(labels, "book.csv", b"PK\x03\x04rest", "is a zip archive or a workbook, not text; save it as CSV"),
    Refused(labels, "empty.tsv", "", "holds no row; write lines with the columns text and label"),
    Refused(labels, "blank.csv", "\n \n\n", "holds no row"),
    Refused(pairs, "head.tsv", "source\ttarget\n", "holds no row"),
    Refused(tags, "empty.tsv", "", "0 sentences cannot be split"),
    Refused(text, "empty.txt", "", "0 characters cannot be split .* Use a longer text"),
    Refused(labels, "onecolumn.tsv", GOOD_LABELS + "\nno tab here\n", "line 22 has 1 columns, 2 are needed, text and"),
    Refused(labels, "semicolon.csv", GOOD_LABELS.replace("\t", ";"), "line 1 has 1 columns, .* commas separate them"),
    Refused(labels, "comma.csv", csv_rows("one, two,yes"), "line 2 has 2 columns, and line 1 has 3; .*quote a text"),
    Refused(labels, "tab.tsv", GOOD_LABELS + "a\tb\tyes\n", "line 21 has 3 columns, and line 1 has 2; tabs separate"),
    Refused(labels, "nolabel.tsv", GOOD_LABELS + "a text\t \n", "line 21 has no label; write one after its text"),
    Refused(labels, "head.csv", csv_rows("text,mood"), "line 1 names the column text and none of label, class"),
    Refused(labels, "twice.csv", csv_rows("text,text,label"), "line 1 names a column twice"),
    Refused(labels, "torn.tsv", GOOD_LABELS + "text 3\tno\n", "line 21: the text 'text 3' has the label 'no' here and"),
    Refused(
        labels, "multi.csv", 'a,yes\n"two\nlines",no\n\n"two\nlines",yes\n', r"line 5: the text .* in line 2; keep"
    ),
    Refused(labels, "quote.csv", csv_rows('"a, b",yes', '"open,no'), "the record that begins in line 2 is not CSV"),
    Refused(labels, "inner.csv", csv_rows("a,yes", '"a"b",no'), "the record that begins in line 2 is not CSV"),
    Refused(labels, "flipped.tsv", "".join(f"yes\ttext {i}\n" for i in range(20)), "line 2: the text 'yes' has the"),
    Refused(labels, "ids.tsv", "".join(f"text {i}\t{i}\n" for i in range(20)), "has 20 classes in 20 texts; the col"),
    Refused(labels, "single.tsv", "a\tyes\nb\tno\n", "2 texts cannot be split .* use more of each class"),
    Refused(labels, "list.json", '[{"text": "a", "label": "b"}]', "is one JSON list; write one object a line"),
    Refused(labels, "bad.jsonl", '{"text": "a", "label": "b"}\n\n{"text": \n', "line 3 is not JSON"),
    Refused(labels, "deep.jsonl", "[" * 9 + "\n", "is one JSON list"),
    Refused(labels, "deeper.jsonl", '{"text":' + "[" * 100_000, "line 1 is not JSON"),
    Refused(labels, "keys.jsonl", '{"text": "a"}\n', "line 1 has the keys text; one of label, class"),
    Refused(pairs, "null.jsonl", '{"en": "a", "fr": null}\n', "line 1: fr is null; allowed: a string"),
    Refused(pairs, "half.jsonl", '{"en": "a", "fr": "\\ud83d"}\n', "line 1: fr holds a NUL or half of a surrogate"),
    Refused(pairs, "same.tsv", "one\tun\n" * 9, "1 different sources cannot be split"),
    Refused(tags, "oneword.tsv", GOOD_TAGS + "alone\n", "line 61: 'alone' has no word or no tag"),
    Refused(tags, "quote.csv", 'a,A\n"b,B\n', "line 2 is not CSV"),
    Refused(tags, "uneven.jsonl", '{"words": ["a", "b"], "tags": ["A"]}\n', "line 1 has 2 words and 1 tags; write a"),
    Refused(tags, "short.conllu", "1\ta\n", "line 1 has 2 columns; CoNLL-U has 10"),
    Refused(text, "empty.jsonl", '{"text": ""}\n', "gives less than 2 characters to a part"),
]
COUNTED = [
    Counted(labels, "mark.tsv", b"\xef\xbb\xbf" + GOOD_LABELS.encode(), 20),
    Counted(labels, "markhead.csv", "\ufeff" + csv_rows("text,label"), 20, ("line 1 is read as a header",)),
    Counted(
        labels, "order.tsv", "id\tLabel\tText\n1\ta\tx\n2\ta\ty\n3\tb\tz\n4\tb\tw\n", 4, ("Text and Label are the",)
    ),
    Counted(labels, "crlf.tsv", GOOD_LABELS.replace("\n", "\r\n"), 20),
    Counted(labels, "quoted.csv", csv_rows('"a, ""b""\nc",yes'), 21),
    Counted(labels, "quote.tsv", GOOD_LABELS + '"open\tyes\n', 21),
    Counted(labels, "nel.tsv", GOOD_LABELS + "a\x85b\u2028c\tyes\n", 21),
    Counted(labels, "long.tsv", GOOD_LABELS + f"{LONG}\tyes\n", 20, ("1 of 21 texts of .* more than 20,000 char",)),
    Counted(labels, "again.tsv", GOOD_LABELS + "text 3\tyes\n\n\n \n", 20, ("1 of 21 texts of .* are duplicates",)),
    Counted(labels, "emptytext.tsv", GOOD_LABELS + "\tyes\n", 20, ("1 of 21 texts .* have an empty text",)),
    Counted(labels, "rare.tsv", GOOD_LABELS + "odd\tmaybe\n", 21),
    Counted(labels, "wide.tsv", GOOD_LABELS.replace("\n", "\t7\n"), 20, ("has 3 columns; the first two are read",)),
    Counted(labels, "numbers.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": 1}\n' * 2, 2, ("duplicates",)),
    Counted(pairs, "side.tsv", GOOD_PAIRS + "\tphrase\nsentence\t\n", 20, ("2 of 22 pairs of .* have an empty side",)),
    Counted(pairs, "codes.csv", "fr,en\n" + GOOD_PAIRS.replace("\t", ","), 20, ("en and fr are the columns that",)),
    Counted(pairs, "joined.tsv", GOOD_PAIRS + "\ufeff" + GOOD_PAIRS, 20, ("20 of 40 pairs .* are duplicates",)),
    Counted(pairs, "long.tsv.gz", gzip.compress(f"{GOOD_PAIRS}a\t{LONG}\n".encode()), 20, ("1 of 21 pairs",)),
    Counted(tags, "head.tsv", "word\ttag\n" + GOOD_TAGS, 20, ("line 1 is read as a header",)),
    Counted(tags, "long.tsv", f"{GOOD_TAGS}{LONG}\tA\n", 20, ("1 of 21 sentences of .* an empty line ends a",)),
    Counted(tags, "comma.csv", GOOD_TAGS.replace("\t", ",") + '",",A\n', 21),
    Counted(tags, "lists.jsonl", "".join(f'{{"words": ["{i}", "b c"], "tags": ["A", "B"]}}\n' for i in range(9)), 9),
    Counted(tags, "loose.tsv", GOOD_TAGS.replace("A", "O").replace("B", "I-x"), 20, ("20 of 40 tags .* as B-x",)),
    Counted(text, "crlf.txt", "line\r\n" * 9, 45),
    Counted(text, "long.txt", LONG, 30_000),
    Counted(text, "table.csv", "id,text\n0,\n" + '1,"two\nlines"\n' * 5, 45, ("each row's text is", "1 of 6 texts")),
]


def name_of(case: Refused | Counted) -> str:
    return f"{case.read.__name__}-{case.name}"


def write(folder: Path, case: Refused | Counted) -> Path:
    path = folder / case.name
    path.write_bytes(case.content if isinstance(case.content, bytes) else case.content.encode())
    return path


@pytest.mark.parametrize("case", REFUSED, ids=name_of)
def test_a_bad_file_is_refused_in_a_sentence(case: Refused, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=case.message) as caught:
        case.read(write(tmp_path, case))
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("case", COUNTED, ids=name_of)
def test_what_a_file_loses_is_counted(case: Counted, tmp_path: Path) -> None:
    num_used, usage = case.read(write(tmp_path, case))
    assert num_used == case.num_used
    said = [*usage.notes, *map(str, usage.unused)]
    assert len(said) == len(case.sentences), said
    for sentence, wanted in zip(said, case.sentences, strict=True):
        assert re.search(wanted, sentence), sentence


def test_a_folder_and_a_missing_file_are_said(tmp_path: Path) -> None:
    for read in (labels, pairs, tags, text):
        for path in (tmp_path, tmp_path / "none.tsv"):
            with pytest.raises(DataError, match=r"cannot be read \(.*\); data\.path names a"):
                read(path)
