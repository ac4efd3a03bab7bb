"""Texts for generation: three downloaded ones, one that ships with Python, and your own file.

Of each, the last `validation_share` of the characters is the validation part; of names, of the shuffled documents.
"""

import platform
import random
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics

from models.errors import DataError
from training.data.corpus import Corpus, Origin, decoded, digest, read_dataset, text_of
from training.data.table import own_bytes, own_origin, own_text
from training.data.usage import ALL_USED, Unused

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
    text = text_of(raw, WAR_AND_PEACE_FILE)
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
    whole = "\n".join(topics[name] for name in sorted(topics))
    text = whole[:max_characters]
    corpus = Corpus.from_text("builtin", BUILTIN, text.encode(), text, validation_share)
    reason = f"are after the first {len(text):,} and left out"
    rest = Unused("builtin", "characters", len(whole), len(whole) - len(text), reason, "data.max_characters")
    return replace(corpus, usage=ALL_USED.with_unused(rest))


def text_file(
    path: Path, validation_share: float, *, validation_path: Path | None = None, test_path: Path | None = None
) -> Corpus:
    """Your own text.

    Args:
        path: the file, UTF-8, plain or ending in .gz.
        validation_share: the share of characters, from the end, that is the validation part.
        validation_path: a text that validates instead.
        test_path: a text that is measured at the end.

    Raises:
        DataError: a file cannot be read, is not UTF-8, or is too short.
    """
    raw: list[bytes] = []

    def text_at(path: Path, key: str) -> str:
        raw.append(own_bytes(path, key, "a UTF-8 text, plain or .gz"))
        text = own_text(raw[-1], str(path))
        if len(text) < 2 and (key != "data.path" or validation_path is not None):
            raise DataError(f"{path} holds {len(text)} characters; at least 2 are needed. Use a longer text.")
        return text

    text = text_at(path, "data.path")
    if validation_path is None:
        corpus = Corpus.from_text("text-file", own_origin(path), raw[0], text, validation_share)
    else:
        parts = (text,), (text_at(validation_path, "data.validation_path"),)
        corpus = Corpus("text-file", own_origin(path), *parts, has_ends=False, sha256=digest(*raw))
    if test_path is not None:
        corpus = replace(corpus, test=(text_at(test_path, "data.test_path"),), sha256=digest(*raw))
    return corpus
