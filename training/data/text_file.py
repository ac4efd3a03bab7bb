"""A text file of your own, UTF-8, plain or ending in .gz; its last part is the validation part."""

import gzip
import zlib
from pathlib import Path

from models.errors import DataError
from training.data.corpus import Corpus, Origin, decoded


def load(path: Path, validation_share: float) -> Corpus:
    """Read a text file.

    Args:
        path: the file.
        validation_share: the share of characters, from the end, that is the validation part.

    Raises:
        DataError: it cannot be read, is not UTF-8, or is too short.
    """
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); data.path names a UTF-8 text, plain or .gz.") from None
    origin = Origin(title=path.name, upstream=f"your own file {path.name}", licence="as you say; none was stated")
    return Corpus.from_text("text-file", origin, raw, decoded(content, str(path)), validation_share)
