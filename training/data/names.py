"""32,033 first names (makemore, Karpathy 2022): each name is a document; shuffled with a fixed seed, then split."""

import hashlib
import random

from models.errors import DataError
from training.data.corpus import Corpus, Origin, decoded
from training.data.folder import read_dataset

FILE = "names/names.txt"
ORIGIN = Origin(
    title="Names",
    upstream="https://raw.githubusercontent.com/karpathy/makemore/master/names.txt",
    licence="MIT; United States government data",
)
SHUFFLE_SEED = 42  # part of the split, so not the recipe's seed: runs with different seeds must be comparable


def load(validation_share: float) -> Corpus:
    """Read the data set.

    Raises:
        DataError: it is absent or holds fewer than two names for a part.
    """
    raw = read_dataset(FILE, ORIGIN)
    names = [line.strip() for line in decoded(raw, FILE).split("\n") if line.strip()]
    random.Random(SHUFFLE_SEED).shuffle(names)
    cut = round(len(names) * (1 - validation_share))
    if cut < 2 or len(names) - cut < 2:
        raise DataError(f"{FILE} holds {len(names)} names; each part needs at least 2. Download it again.")
    digest = hashlib.sha256(raw).hexdigest()
    return Corpus("names", ORIGIN, tuple(names[:cut]), tuple(names[cut:]), True, digest)
