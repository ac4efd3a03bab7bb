"""War and Peace (Tolstoy, Project Gutenberg #2600), gzipped or plain; the last tenth is the validation part."""

import gzip
import zlib

from models.errors import DataError
from training.data.corpus import Corpus, Origin, decoded
from training.data.folder import read_dataset

FILE = "war_and_peace/input.txt.gz"
ORIGIN = Origin(
    title="War and Peace",
    upstream="https://www.gutenberg.org/ebooks/2600 (plain text, gzip it)",
    licence="Project Gutenberg licence, public domain in the USA",
)


def load(validation_share: float) -> Corpus:
    """Read the data set.

    Raises:
        DataError: it is absent or is not a gzip file.
    """
    raw = read_dataset(FILE, ORIGIN)
    try:
        text = decoded(gzip.decompress(raw), FILE)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{FILE} is not a whole gzip file ({error}); download it again.") from None
    return Corpus.from_text("war-and-peace", ORIGIN, raw, text, validation_share)
