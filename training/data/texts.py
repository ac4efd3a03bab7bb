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
from training.data.table import own_bytes, own_origin, own_text, read_documents
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
        path: the file, UTF-8, plain or ending in .gz. A JSONL file holds many texts, and so does a CSV or TSV file
            whose header names a column of texts; an end token follows each.
        validation_share: the share of characters, from the end, that is the validation part; of many texts, the share
            of them, drawn with a fixed seed.
        validation_path: a text that validates instead.
        test_path: a text that is measured at the end.

    Raises:
        DataError: a file cannot be read, is not UTF-8, or is too short.
    """
    raw: list[bytes] = []
    usage = ALL_USED

    def documents_of(path: Path, key: str) -> tuple[list[str], bool]:
        """The file's texts, none of them empty, and whether it is one plain text."""
        nonlocal usage
        raw.append(own_bytes(path, key, "a UTF-8 text, plain or .gz"))
        text = own_text(raw[-1], str(path))
        found = read_documents(text, path)
        if found is None:
            return [text], True
        kept = [document for _, document in found[0] if document]
        lost = len(found[0]) - len(kept)
        empty = Unused(path.name, "texts", len(found[0]), lost, "are empty", key)
        usage = usage.joined(found[1]).with_unused(empty)
        return kept, False

    train, is_plain = documents_of(path, "data.path")
    validation: list[str] = []
    if validation_path is not None:
        validation, _ = documents_of(validation_path, "data.validation_path")
    elif is_plain:
        whole = Corpus.from_text("text-file", own_origin(path), raw[0], train[0], validation_share)
        train, validation = list(whole.train), list(whole.validation)
    else:
        random.Random(SHUFFLE_SEED).shuffle(train)
        cut = round(len(train) * (1 - validation_share))
        train, validation = train[:cut], train[cut:]
    test: list[str] = []
    if test_path is not None:
        test, _ = documents_of(test_path, "data.test_path")
    for name, part in ((path, train), (validation_path or path, validation), (test_path, test)):
        if name is not None and sum(map(len, part)) < 2:
            raise DataError(f"{name} gives less than 2 characters to a part; each needs at least 2. Use a longer text.")
    return Corpus(
        "text-file",
        own_origin(path),
        tuple(train),
        tuple(validation),
        not is_plain,
        digest(*raw),
        None,
        tuple(test),
        usage,
    )
