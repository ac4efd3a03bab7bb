"""Sentences that compare two dishes and say which was taken, made here: for a machine with no data.

Which dish was the better one follows from the order of the words and from "not"; whether the guest was lucky, which is
the label, from that and from the dish that was taken. Each sentence has a twin of the same words in another order and
with the other label, so nothing that only counts words can do better than chance.
"""

import hashlib
import itertools
import random

from models.errors import DataError
from training.data.corpus import Origin
from training.data.labels import SHUFFLE_SEED, LabelCorpus, Labelled

ORIGIN = Origin(title="Comparisons of dishes", upstream="training/data/comparisons.py, made when read", licence="none")
DISHES = ["soup", "bread", "fish", "rice", "salad", "pie", "curry", "cake", "stew", "pasta"]
BETTER = ["better", "nicer", "fresher", "tastier"]
WORSE = ["worse", "colder", "blander", "saltier"]
TAKEN = ("we took the", "I had the", "she ordered the", "they gave us the")


def load(validation_share: float) -> LabelCorpus:
    """Write all sentences and split them; twins stay together.

    Args:
        validation_share: of the sentences.

    Raises:
        DataError: a part would be empty.
    """
    twins = [
        _twins(first, second, word, negation, taken)
        for first, second in itertools.combinations(DISHES, 2)
        for word in (*BETTER, *WORSE)
        for negation in ("", "not ")
        for taken in TAKEN
    ]
    random.Random(SHUFFLE_SEED).shuffle(twins)
    cut = round(len(twins) * validation_share)
    if not 0 < cut < len(twins):
        raise DataError(
            f"comparisons: {len(twins)} twins cannot be split with a share of {validation_share}; raise it."
        )
    validation, train = (tuple(itertools.chain.from_iterable(part)) for part in (twins[:cut], twins[cut:]))
    sha256 = hashlib.sha256("\n".join(f"{text}\t{label}" for text, label in (*train, *validation)).encode()).hexdigest()
    return LabelCorpus("comparisons", ORIGIN, train, validation, sha256)


def _twins(first: str, second: str, word: str, negation: str, taken: str) -> tuple[Labelled, ...]:
    """Four sentences: either dish first, either dish taken."""
    is_first_better = (word in BETTER) != bool(negation)
    found = []
    for one, other in ((first, second), (second, first)):
        for dish in (one, other):
            is_lucky = (dish == one) == is_first_better
            text = f"the {one} was {negation}{word} than the {other} and {taken} {dish}."
            found.append(Labelled(text, "positive" if is_lucky else "negative"))
    return tuple(found)
