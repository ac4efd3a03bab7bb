"""Lines of a downloaded file, gzipped or plain.

Lines end with LF and nothing else: some reviews hold U+0085, which `str.splitlines` would take for an end.
"""

import gzip
import zlib

from models.errors import DataError
from training.data.corpus import decoded


def lines_of(raw: bytes, where: str) -> list[str]:
    """The lines of UTF-8 bytes, empty ones left out.

    Args:
        raw: the file's bytes.
        where: its name, for the message; one that ends in .gz is gzipped.

    Raises:
        DataError: it is not a whole gzip file or not UTF-8.
    """
    return [line for line in text_of(raw, where).split("\n") if line.strip()]


def text_of(raw: bytes, where: str) -> str:
    """The text of UTF-8 bytes; see `lines_of`."""
    try:
        content = gzip.decompress(raw) if where.endswith(".gz") else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{where} is not a whole gzip file ({error}); download it again.") from None
    return decoded(content, where)


def columns_of(lines: list[str], least: int, where: str) -> list[list[str]]:
    """The columns of tab-separated lines.

    Args:
        lines: of the file.
        least: how many columns each line must have.
        where: the file's name, for the message.

    Raises:
        DataError: a line has fewer.
    """
    rows = [line.split("\t") for line in lines]
    for number, row in enumerate(rows, 1):
        if len(row) < least:
            raise DataError(f"{where} line {number} has {len(row)} columns, {least} are needed; tabs separate them.")
    return rows
