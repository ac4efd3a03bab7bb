"""Sentences of two comparisons joined by "but", made here: for a machine with no data.

The label is that of the second comparison: "better" and "not worse" are positive, "worse" and "not better" negative.
The first one says the opposite. Each sentence has a twin with the two comparisons exchanged, so with the same words and
the other label: a model that only counts words cannot do better than chance.
"""

import hashlib
import itertools
import random

from training.data.corpus import Origin
from training.data.labels import SHUFFLE_SEED, LabelCorpus, Labelled, split_shuffled

ORIGIN = Origin(title="Comparisons of dishes", upstream="training/data/comparisons.py, made when read", licence="none")
DISHES = ["soup", "bread", "fish", "rice", "salad", "pie", "curry", "cake", "stew", "pasta"]
BETTER = ["better", "nicer", "fresher", "tastier"]
WORSE = ["worse", "colder", "blander", "saltier"]
NUM_TWINS = 3000


def comparisons(validation_share: float) -> LabelCorpus:
    """Draw sentences with a fixed seed, and split them.

    Args:
        validation_share: of the sentences; twins stay together.

    Raises:
        DataError: a part would be empty.
    """
    dice = random.Random(SHUFFLE_SEED)
    twins = {(_comparison(dice, is_praise=True), _comparison(dice, is_praise=False)) for _ in range(NUM_TWINS)}
    praises = [Labelled(f"{blame} but {praise}.", "positive") for praise, blame in sorted(twins)]
    blames = {f"{blame} but {praise}.": Labelled(f"{praise} but {blame}.", "negative") for praise, blame in twins}
    parts = split_shuffled(praises, round(len(praises) * validation_share), "comparisons")
    train, validation = (
        tuple(itertools.chain.from_iterable((example, blames[example.text]) for example in part)) for part in parts
    )
    sha256 = hashlib.sha256("\n".join(f"{text}\t{label}" for text, label in (*train, *validation)).encode()).hexdigest()
    return LabelCorpus("comparisons", ORIGIN, train, validation, sha256)


def _comparison(dice: random.Random, *, is_praise: bool) -> str:
    is_negated = dice.random() < 0.5
    word = dice.choice(BETTER if is_praise != is_negated else WORSE)
    one, other = dice.sample(DISHES, 2)
    return f"the {one} was {'not ' if is_negated else ''}{word} than the {other}"
