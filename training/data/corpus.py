"""Data sets on disk: where they lie, how their bytes become text, and a text split in two parts."""

import gzip
import hashlib
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from models.errors import DataError
from training.data.usage import ALL_USED, Usage


@dataclass(frozen=True)
class Origin:
    """Where a data set comes from, for the card and for the message when it is absent."""

    title: str
    upstream: str  # address from which a user gets it
    licence: str  # as the source states it


@dataclass(frozen=True)
class Corpus:
    """A data set in memory, already split.

    A text in one piece is one document; with several, the stream that training reads has an end token after each.
    """

    name: str
    origin: Origin
    train: tuple[str, ...]
    validation: tuple[str, ...]
    has_ends: bool  # whether an <eos> follows each document
    sha256: str  # of the raw bytes that were read
    answer_mark: str | None = None  # a character: each document is a question that ends with it, and an answer
    test: tuple[str, ...] = ()  # measured at the end beside the validation part
    usage: Usage = ALL_USED

    @classmethod
    def from_text(cls, name: str, origin: Origin, raw: bytes, text: str, validation_share: float) -> Self:
        """Split one text: its last validation_share of characters is the validation part.

        Args:
            name: the data set's name.
            origin: where it comes from.
            raw: the bytes as read, for the digest.
            text: the text in them.
            validation_share: 0 < share < 1.

        Raises:
            DataError: a part would be shorter than two characters.
        """
        cut = round(len(text) * (1 - validation_share))
        if cut < 2 or len(text) - cut < 2:
            raise DataError(
                f"{name}: {len(text)} characters cannot be split with a validation share of {validation_share}; "
                "each part needs at least 2. Use a longer text."
            )
        return cls(name, origin, (text[:cut],), (text[cut:],), False, hashlib.sha256(raw).hexdigest())


_MARKS = (  # the longer first: UTF-16's mark is the beginning of UTF-32's
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def decoded(raw: bytes, where: str) -> str:
    """The text of UTF-8 bytes, without a byte order mark, with LF line ends.

    Raises:
        DataError: the bytes are not UTF-8; the message says at which byte, or which encoding their mark names.
    """
    other = next((name for mark, name in _MARKS if raw.startswith(mark)), None)
    if other is not None:
        raise DataError(f"{where} is {other} by its byte order mark; convert it: iconv -f {other} -t UTF-8.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = error.start + (3 if raw.startswith(b"\xef\xbb\xbf") else 0)
        line = raw.count(b"\n", 0, start) + 1
        raise DataError(
            f"{where} is not UTF-8 at byte {start} (line {line}); convert it: iconv -f LATIN1 -t UTF-8."
        ) from None
    return text.replace("\r\n", "\n")


def digest(*parts: bytes) -> str:
    """The sha256 of several files' bytes, in order."""
    return hashlib.sha256(b"".join(parts)).hexdigest()


VARIABLE = "RNNSERVE_DATA"


def read_dataset(file: str, origin: Origin) -> bytes:
    """The bytes of a file of the data folder.

    Args:
        file: path relative to the folder, "tinyshakespeare/input.txt".
        origin: where a user gets it, for the message.

    Raises:
        DataError: the variable is not set or the file is not there; the message gives address, licence and variable.
    """
    root = os.environ.get(VARIABLE)
    if not root:
        reason = f"{VARIABLE} is not set"
    else:
        path = Path(root) / file
        try:
            return path.read_bytes()
        except OSError as error:
            reason = f"{path} cannot be read ({error.strerror})"
    raise DataError(
        f"{origin.title}: {reason}. Download it from {origin.upstream} (licence: {origin.licence}), "
        f"save it as FOLDER/{file}, and set {VARIABLE}=FOLDER."
    )


def lines_of(raw: bytes, where: str) -> list[tuple[int, str]]:
    """The lines of UTF-8 bytes with their numbers in the file, from 1; blank ones are left out.

    Args:
        raw: the file's bytes.
        where: its name, for the message; one that ends in .gz is gzipped.

    Raises:
        DataError: it is not a whole gzip file or not UTF-8.
    """
    return [(number, line) for number, line in enumerate(text_of(raw, where).split("\n"), 1) if line.strip()]


def text_of(raw: bytes, where: str) -> str:
    """The text of UTF-8 bytes; see `lines_of`."""
    try:
        content = gzip.decompress(raw) if where.endswith(".gz") else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{where} is not a whole gzip file ({error}); download it again.") from None
    return decoded(content, where)


def columns_of(lines: Sequence[tuple[int, str]], least: int, where: str) -> list[tuple[int, list[str]]]:
    """The columns of tab-separated lines, with the lines' numbers.

    Args:
        lines: of the file, with their numbers.
        least: how many columns each line must have.
        where: the file's name, for the message.

    Raises:
        DataError: a line has fewer.
    """
    rows = [(number, line.split("\t")) for number, line in lines]
    for number, row in rows:
        if len(row) < least:
            raise DataError(f"{where} line {number} has {len(row)} columns, {least} are needed; tabs separate them.")
    return rows
