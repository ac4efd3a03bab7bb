"""Texts for generation: three downloaded ones, one that ships with Python, and your own file.

Of each, the last `validation_share` of the characters is the validation part; of names, of the shuffled documents.
"""

import gzip
import platform
import random
import zlib
from pathlib import Path
from pydoc_data.topics import topics

from models.errors import DataError
from training.data.corpus import Corpus, Origin, decoded, digest, read_dataset

SHAKESPEARE_FILE = "tinyshakespeare/input.txt"
SHAKESPEARE = Origin(
    title="Tiny Shakespeare",
    upstream="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    licence="text in the public domain, repository MIT",
)


def tiny_shakespeare(validation_share: float) -> Corpus:
    """Tiny Shakespeare (Karpathy 2015): one text.

    Raises:
        DataError: it is absent.
    """
    raw = read_dataset(SHAKESPEARE_FILE, SHAKESPEARE)
    return Corpus.from_text("tiny-shakespeare", SHAKESPEARE, raw, decoded(raw, SHAKESPEARE_FILE), validation_share)


WAR_AND_PEACE_FILE = "war_and_peace/input.txt.gz"
WAR_AND_PEACE = Origin(
    title="War and Peace",
    upstream="https://www.gutenberg.org/ebooks/2600 (plain text, gzip it)",
    licence="Project Gutenberg licence, public domain in the USA",
)


def war_and_peace(validation_share: float) -> Corpus:
    """War and Peace (Tolstoy, Project Gutenberg #2600): one text.

    Raises:
        DataError: it is absent or is not a gzip file.
    """
    raw = read_dataset(WAR_AND_PEACE_FILE, WAR_AND_PEACE)
    try:
        text = decoded(gzip.decompress(raw), WAR_AND_PEACE_FILE)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{WAR_AND_PEACE_FILE} is not a whole gzip file ({error}); download it again.") from None
    return Corpus.from_text("war-and-peace", WAR_AND_PEACE, raw, text, validation_share)


NAMES_FILE = "names/names.txt"
NAMES = Origin(
    title="Names",
    upstream="https://raw.githubusercontent.com/karpathy/makemore/master/names.txt",
    licence="MIT; United States government data",
)
SHUFFLE_SEED = 42  # part of the split, so not the recipe's seed: runs with different seeds must be comparable


def names(validation_share: float) -> Corpus:
    """32,033 first names (makemore, Karpathy 2022): each name is a document; shuffled with a fixed seed, then split.

    Raises:
        DataError: it is absent or holds fewer than two names for a part.
    """
    raw = read_dataset(NAMES_FILE, NAMES)
    found = [line.strip() for line in decoded(raw, NAMES_FILE).split("\n") if line.strip()]
    random.Random(SHUFFLE_SEED).shuffle(found)
    cut = round(len(found) * (1 - validation_share))
    if cut < 2 or len(found) - cut < 2:
        raise DataError(f"{NAMES_FILE} holds {len(found)} names; each part needs at least 2. Download it again.")
    return Corpus("names", NAMES, tuple(found[:cut]), tuple(found[cut:]), True, digest(raw))


BUILTIN = Origin(
    title=f"Python {platform.python_version()} help topics",
    upstream="pydoc_data.topics, in every Python installation",
    licence="PSF-2.0",
)


def builtin(validation_share: float, max_characters: int | None) -> Corpus:
    """Text that ships inside every Python: the language reference, its topics in the order of their names.

    Args:
        validation_share: the share of characters, from the end, that is the validation part.
        max_characters: how many characters to keep, from the beginning; None keeps all (about 700,000).

    Raises:
        DataError: too few characters are kept.
    """
    text = "\n".join(topics[name] for name in sorted(topics))[:max_characters]
    return Corpus.from_text("builtin", BUILTIN, text.encode(), text, validation_share)


def text_file(path: Path, validation_share: float) -> Corpus:
    """Your own text.

    Args:
        path: the file, UTF-8, plain or ending in .gz.
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
