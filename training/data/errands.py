"""Requests such as "bring 3 lamps to Anna in Oslo on Monday", with their persons, places, days and things as spans.

Made here: for a machine with no data. A name may be a person or a place; which, the words around it decide.
"""

import random

from training.data.corpus import Origin
from training.data.tags import TagCorpus, Tagged, corpus_of, split

ORIGIN = Origin(title="Errands", upstream="training/data/errands.py, made when read", licence="none")
_NAMES = ["Anna", "Bruno", "Carmen", "Florence", "Georgia", "Jordan", "Lincoln", "Paris", "Sydney", "Victoria"]
_SURNAMES = ["Berg", "Costa", "Lang", "Moreau", "Novak", "Quinn"]
_PLACES = ["Oslo", "New York", "Lisbon", "Cape Town", "Florence", "Georgia", "Paris", "Sydney", "Victoria", "Lincoln"]
_DAYS = ["Monday", "Friday", "next week", "tomorrow", "the first of May"]
_THINGS = ["lamps", "red boxes", "letters", "old maps", "green chairs", "books"]
_STARTS = ["bring", "please send", "carry", "take"]
_NUM_SENTENCES = 2000
_SEED = 42


def errands(validation_share: float) -> TagCorpus:
    """Draw sentences with a fixed seed, and split them.

    Raises:
        DataError: a part would be empty.
    """
    dice = random.Random(_SEED)
    sentences = [_sentence(dice) for _ in range(_NUM_SENTENCES)]
    raw = "\n".join(f"{' '.join(item.words)}\t{' '.join(item.tags)}" for item in sentences).encode()
    return corpus_of("errands", ORIGIN, split(sentences, validation_share, "errands"), [raw], "words")


def _sentence(dice: random.Random) -> Tagged:
    person = dice.choice(_NAMES) + (f" {dice.choice(_SURNAMES)}" if dice.random() < 0.4 else "")
    parts = [
        (dice.choice(_STARTS), None),
        (f"{dice.randint(2, 40)} {dice.choice(_THINGS)}", "thing"),
        ("to", None),
        (person, "person"),
        ("in", None),
        (dice.choice(_PLACES), "place"),
    ]
    if dice.random() < 0.5:
        parts[2:] = [("in", None), (dice.choice(_PLACES), "place"), ("to", None), (person, "person")]
    if dice.random() < 0.7:
        parts += [("on" if dice.random() < 0.5 else "by", None), (dice.choice(_DAYS), "day")]
    parts.append((".", None))
    words, tags = [], []
    for text, label in parts:
        for i, word in enumerate(text.split()):
            words.append(word)
            tags.append("O" if label is None else f"{'I' if i else 'B'}-{label}")
    return Tagged(tuple(words), tuple(tags))
