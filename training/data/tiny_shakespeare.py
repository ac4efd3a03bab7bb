"""Tiny Shakespeare (Karpathy 2015): one text; the last tenth of its characters is the validation part."""

from training.data.corpus import Corpus, Origin, decoded
from training.data.folder import read_dataset

FILE = "tinyshakespeare/input.txt"
ORIGIN = Origin(
    title="Tiny Shakespeare",
    upstream="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    licence="text in the public domain, repository MIT",
)


def load(validation_share: float) -> Corpus:
    """Read the data set.

    Raises:
        DataError: it is absent.
    """
    raw = read_dataset(FILE, ORIGIN)
    return Corpus.from_text("tiny-shakespeare", ORIGIN, raw, decoded(raw, FILE), validation_share)
