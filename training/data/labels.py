"""Labelled texts, for sentiment: what a loader returns, and your own file."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from models.errors import DataError
from training.data.corpus import Origin, columns_of, digest, lines_of

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


def labels_file(path: Path, validation_share: float) -> LabelCorpus:
    """Your own labelled texts: a UTF-8 file, plain or .gz, each line text<TAB>label.

    Args:
        path: the file; further columns are ignored. Any words can be labels.
        validation_share: of the texts, drawn with a fixed seed.

    Raises:
        DataError: it cannot be read, a line has no tab or no label, a text has two labels, or it is too short.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); path names lines text<TAB>label.") from None
    rows = columns_of(lines_of(raw, str(path)), 2, str(path))
    for number, row in enumerate(rows, 1):
        if not row[1].strip():
            raise DataError(f"{path} line {number} has no label after its tab; write one.")
    _check_one_label_each(rows, path)
    examples = unambiguous(Labelled(text.strip(), label.strip()) for text, label, *_ in rows)
    train, validation = split_shuffled(examples, round(len(examples) * validation_share), str(path))
    origin = Origin(title=path.name, upstream=f"your own file {path.name}", licence="as you say; none was stated")
    return LabelCorpus("labels-file", origin, train, validation, digest(raw))


def _check_one_label_each(rows: Sequence[Sequence[str]], path: Path) -> None:
    """Raises DataError for the first text that has two labels, naming both lines."""
    seen: dict[str, tuple[int, str]] = {}
    for number, row in enumerate(rows, 1):
        text, label = row[0].strip(), row[1].strip()
        first, other = seen.setdefault(text, (number, label))
        if label != other and text:
            raise DataError(
                f"{path} line {number}: the text {text[:40]!r} has the label {label!r} here and {other!r} in line "
                f"{first}; keep one of them."
            )
