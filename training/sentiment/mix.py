"""The data sets of a recipe as one: how often each is read, which labels there are, which texts validate."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from models.errors import DataError
from training.data.comparisons import comparisons
from training.data.labels import LabelCorpus, Labelled, labels_file
from training.data.reviews import chinese_reviews, imdb, sst2
from training.data.usage import ALL_USED, Unused, Usage
from training.sentiment.recipe import DataSection, DatasetSection


@dataclass(frozen=True)
class Mix:
    """The data of a classifier's run.

    A text that validates is never trained on, whichever data set it comes from.
    """

    parts: tuple[tuple[DatasetSection, LabelCorpus], ...]
    validation: dict[
        str, tuple[Labelled, ...]
    ]  # by data set; a data set that is read in two ways validates in its first
    labels: list[str]  # by class, in alphabetical order
    test: dict[str, tuple[Labelled, ...]]  # by data set, of those that have one
    usage: Usage

    @property
    def sha256(self) -> str:
        """Of all data sets, in the recipe's order."""
        return hashlib.sha256("".join(corpus.sha256 for _, corpus in self.parts).encode()).hexdigest()


def load_mix(section: DataSection) -> Mix:
    """Read the data sets that a recipe names.

    Raises:
        DataError: one is absent or malformed, or the labels are not enough.
    """
    corpora = [(part, load_labelled(part)) for part in section.datasets]
    validation: dict[str, tuple[Labelled, ...]] = {}
    for _, corpus in corpora:
        validation.setdefault(corpus.name, corpus.validation)
    test = {corpus.name: corpus.test for _, corpus in corpora if corpus.test}
    held_out = {example.text for part in (validation, test) for examples in part.values() for example in examples}
    labels = sorted({example.label for _, corpus in corpora for example in corpus.train})
    strange = {example.label for examples in validation.values() for example in examples} - set(labels)
    if len(labels) < 2 or strange:
        raise DataError(
            f"training texts have the labels {', '.join(labels)}, validation texts also {', '.join(sorted(strange))}; "
            "at least two are needed, each in the training part."
        )
    parts = []
    usage = ALL_USED
    for number, (part, corpus) in enumerate(corpora):
        key = f"data.datasets.{number}"
        kept = _without(corpus.train, held_out)
        lost = len(corpus.train) - len(kept)
        reason = "validate, or are in a test part"
        usage = usage.joined(corpus.usage.of_section(key)).with_unused(
            Unused(corpus.name, "training texts", len(corpus.train), lost, reason, f"{key}.dataset")
        )
        parts.append((part, LabelCorpus(corpus.name, corpus.origin, kept, (), corpus.sha256)))
    usage = usage.with_classes(
        (example.label for _, corpus in parts for example in corpus.train),
        (example.label for examples in validation.values() for example in examples),
        "texts",
    )
    return Mix(tuple(parts), validation, labels, test, usage)


def _without(examples: tuple[Labelled, ...], texts: set[str]) -> tuple[Labelled, ...]:
    return tuple(example for example in examples if example.text not in texts)


def load_labelled(section: DatasetSection) -> LabelCorpus:
    """Read the data set that a section names.

    Raises:
        DataError: it is absent or malformed.
    """
    match section.dataset:
        case "sst2":
            return sst2(natural=section.natural)
        case "imdb":
            return imdb(chunk_words=section.chunk_words)
        case "waimai" | "online-shopping":
            return chinese_reviews(section.dataset)
        case "comparisons":
            assert section.validation_share  # checked by DatasetSection
            return comparisons(section.validation_share)
        case "labels-file":
            assert section.path
            return labels_file(
                Path(section.path),
                section.validation_share,
                validation_path=None if section.validation_path is None else Path(section.validation_path),
                test_path=None if section.test_path is None else Path(section.test_path),
            )
