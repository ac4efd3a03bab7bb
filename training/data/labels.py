"""Labelled texts, for sentiment: what a loader returns, and your own file."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from models.errors import DataError
from training.data.corpus import Origin, digest
from training.data.table import TEXT_NAMES, Table, own_origin, read_table
from training.data.usage import ALL_USED, Unused, Usage

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
    test: tuple[Labelled, ...] = ()  # measured at the end beside the validation part
    usage: Usage = ALL_USED


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


def ambiguities(examples: Sequence[Labelled], source: str, key: str = "data.dataset") -> tuple[Unused, ...]:
    """What `unambiguous` leaves out of examples, by reason.

    Args:
        examples: as read.
        source: the file or data set.
        key: of the recipe, which names it.
    """
    labels: dict[str, set[str]] = {}
    for example in examples:
        labels.setdefault(example.text, set()).add(example.label)
    times = Counter(example.text for example in examples if example.text)
    torn = {text for text in times if len(labels[text]) > 1}
    counts = {
        "have an empty text": sum(not example.text for example in examples),
        "are there with another class, too": sum(times[text] for text in torn),
        "are duplicates": sum(count - 1 for text, count in times.items() if text not in torn),
    }
    return tuple(Unused(source, "texts", len(examples), count, reason, key) for reason, count in counts.items())


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


LABEL_NAMES = ("label", "class", "category", "sentiment", "polarity")
_FEW = 10  # texts: of fewer, columns that were exchanged cannot be seen


def labels_file(
    path: Path, validation_share: float | None, *, validation_path: Path | None = None, test_path: Path | None = None
) -> LabelCorpus:
    """Your own labelled texts: UTF-8 files, plain or .gz, with the columns text and label (CSV, TSV, JSONL).

    Args:
        path: the training texts, or all. Any words can be labels.
        validation_share: of the texts of each class, drawn with a fixed seed; None with a validation_path.
        validation_path: texts that validate, of the same classes.
        test_path: texts that are measured at the end.

    Raises:
        DataError: a file cannot be read, a row is malformed or has no label, a text has two labels, a class is in the
            validation or test file alone, or there are too few texts.
    """
    raw: list[bytes] = []
    usage = Usage()

    def part(path: Path, key: str) -> tuple[Labelled, ...]:
        nonlocal usage
        table = read_table(path, (TEXT_NAMES, LABEL_NAMES), key=key, unit="texts")
        examples = _own_examples(table, path)
        raw.append(table.raw)
        usage = usage.joined(table.usage).with_unused(*ambiguities(examples, path.name, key))
        return unambiguous(examples)

    examples = part(path, "data.path")
    counts = Counter(example.label for example in examples)
    if len(examples) >= _FEW and len(counts) > len(examples) / 2:
        raise DataError(
            f"{path} has {len(counts)} classes in {len(examples)} texts; the columns are text and label, in this order "
            "or named by a header. Exchange them, or give more texts of each class."
        )
    validation: tuple[Labelled, ...]
    if validation_path is None:
        assert validation_share is not None, "the recipe has been checked"
        train, validation = split_by_class(examples, validation_share, str(path))
    else:
        validation = part(validation_path, "data.validation_path")
        train = shuffled(examples)
    test = () if test_path is None else part(test_path, "data.test_path")
    for where, examples in ((validation_path, validation), (test_path, test)):
        if where is not None and (strange := sorted({example.label for example in examples} - counts.keys())):
            raise DataError(
                f"{where} has the classes {', '.join(strange)[:200]}, which no text of {path} has; allowed: "
                f"{', '.join(sorted(counts))[:200]}."
            )
    return LabelCorpus("labels-file", own_origin(path), train, validation, digest(*raw), test, usage)


def split_by_class(
    examples: Sequence[Labelled], validation_share: float, name: str
) -> tuple[tuple[Labelled, ...], tuple[Labelled, ...]]:
    """The training and the validation part, shuffled with a fixed seed; both have the same share of each class.

    A class of two texts or more is in both parts; a single text trains.

    Raises:
        DataError: a part would be empty.
    """
    sizes = Counter(example.label for example in examples)
    held_out = {
        label: min(size - 1, max(1, round(size * validation_share))) if size > 1 else 0 for label, size in sizes.items()
    }
    train: list[Labelled] = []
    validation: list[Labelled] = []
    for example in shuffled(examples):
        (validation if held_out[example.label] else train).append(example)
        held_out[example.label] -= held_out[example.label] > 0
    if not train or not validation:
        raise DataError(
            f"{name}: {len(examples)} texts cannot be split into a training and a validation part; use more of each "
            "class."
        )
    return tuple(train), tuple(validation)


def _own_examples(table: Table, path: Path) -> list[Labelled]:
    """Raises DataError for a row without a label, and for the first text that has two, naming both lines."""
    seen: dict[str, tuple[int, str]] = {}
    for line, text, label in table.rows:
        if not label:
            raise DataError(f"{path} line {line} has no label; write one after its text.")
        first, other = seen.setdefault(text, (line, label))
        if label != other and text:
            raise DataError(
                f"{path} line {line}: the text {text[:40]!r} has the label {label!r} here and {other!r} in line "
                f"{first}; keep one of them."
            )
    return [Labelled(row.first, row.second) for row in table.rows]
