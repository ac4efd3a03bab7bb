"""Large Movie Review Dataset (Maas et al. 2011), 25,000 reviews; 2,000 of them, drawn with a fixed seed, are held out.

A review's line breaks are HTML, and 681 reviews hold U+0085, which is no line end here. Reviews can be cut into
chunks of consecutive sentences; a chunk has its review's label, which is weak: not every sentence of a good review
is praise.
"""

import re

from training.data.corpus import Origin, digest
from training.data.folder import read_dataset
from training.data.labels import LabelCorpus, Labelled, polarity, split_shuffled, unambiguous
from training.data.lines import columns_of, lines_of

FILE = "imdb/train.tsv.gz"
ORIGIN = Origin(
    title="IMDB reviews",
    upstream="https://ai.stanford.edu/~amaas/data/sentiment/ (aclImdb_v1.tar.gz; lines text<TAB>label<TAB>..., gzip)",
    licence="none stated; cite Maas et al. 2011",
)
NUM_VALIDATION = 2000
MOST_WORDS = 60  # of a chunk


def load(*, chunk_words: int | None) -> LabelCorpus:
    """Read the data set.

    Args:
        chunk_words: cut the training reviews after each sentence that makes a chunk this long; None: whole reviews.
            The validation part is whole reviews.

    Raises:
        DataError: it is absent or malformed.
    """
    raw = read_dataset(FILE, ORIGIN)
    rows = columns_of(lines_of(raw, FILE), 2, FILE)
    reviews = unambiguous(
        Labelled(plain_text(row[0]), polarity(row[1], FILE, number)) for number, row in enumerate(rows, 1)
    )
    train, validation = split_shuffled(reviews, min(NUM_VALIDATION, len(reviews) // 10), FILE)
    if chunk_words is not None:
        train = tuple(Labelled(chunk, label) for text, label in train for chunk in chunks(text, chunk_words))
    return LabelCorpus("imdb", ORIGIN, train, validation, digest(raw))


def plain_text(review: str) -> str:
    """The review without HTML line breaks, in one line."""
    return " ".join(re.sub(r"<br\s*/?>", " ", review).replace("\x85", " ").split())


def chunks(text: str, least_words: int) -> list[str]:
    """Consecutive sentences joined until they are at least so many words, each chunk cut at MOST_WORDS."""
    found: list[str] = []
    words: list[str] = []
    for sentence in re.split(r"(?<=[.!?])[\"')]*\s+", text):
        words += sentence.split()
        if len(words) >= least_words:
            found.append(" ".join(words[:MOST_WORDS]))
            words = []
    if words:
        found.append(" ".join(words[:MOST_WORDS]))
    return found
