"""What a loader of labelled texts returns: texts with their labels, already split, and where they come from."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from models.errors import DataError
from training.data.corpus import Origin

SHUFFLE_SEED = 42  # part of the split, so not the recipe's seed: runs with different seeds must be comparable
POLARITY = {"0": "negative", "1": "positive"}


class Labelled(NamedTuple):
    """A text and its class."""

    text: str
    label: str


@dataclass(frozen=True)
class LabelCorpus:
    """A data set of labelled texts in memory."""

    name: str
    origin: Origin
    train: tuple[Labelled, ...]
    validation: tuple[Labelled, ...]
    sha256: str  # of the raw bytes that were read


def polarity(label: str, where: str, number: int) -> str:
    """The labels 0 and 1 as negative and positive.

    Raises:
        DataError: it is something else.
    """
    try:
        return POLARITY[label]
    except KeyError:
        raise DataError(f"{where} line {number}: label {label[:20]!r}; allowed: 0, 1. Download it again.") from None


def unambiguous(examples: Iterable[Labelled]) -> tuple[Labelled, ...]:
    """The examples in their order, each text once; without empty texts and without texts that have two labels."""
    labels: dict[str, set[str]] = {}
    for example in examples:
        if example.text:
            labels.setdefault(example.text, set()).add(example.label)
    return tuple(Labelled(text, *found) for text, found in labels.items() if len(found) == 1)


def split_shuffled(
    examples: Sequence[Labelled], num_validation: int, name: str
) -> tuple[tuple[Labelled, ...], tuple[Labelled, ...]]:
    """Shuffle with a fixed seed; the first num_validation are the validation part, the others the training part.

    Raises:
        DataError: a part would be empty.
    """
    if not 0 < num_validation < len(examples):
        raise DataError(
            f"{name}: {len(examples)} examples cannot be split, {num_validation} of them held out; use more."
        )
    shuffled = list(examples)
    random.Random(SHUFFLE_SEED).shuffle(shuffled)
    return tuple(shuffled[num_validation:]), tuple(shuffled[:num_validation])


def shuffled(examples: Sequence[Labelled]) -> tuple[Labelled, ...]:
    """In an order drawn with a fixed seed: some files are sorted by label."""
    return tuple(random.Random(SHUFFLE_SEED).sample(examples, len(examples)))
