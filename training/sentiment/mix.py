"""The data sets of a recipe as one: how often each is read, which labels there are, which texts validate."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from models.errors import DataError
from training.data.comparisons import comparisons
from training.data.labels import LabelCorpus, Labelled, labels_file
from training.data.reviews import chinese_reviews, imdb, sst2
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
    held_out = {example.text for examples in validation.values() for example in examples}
    labels = sorted({example.label for _, corpus in corpora for example in corpus.train})
    strange = {example.label for examples in validation.values() for example in examples} - set(labels)
    if len(labels) < 2 or strange:
        raise DataError(
            f"training texts have the labels {', '.join(labels)}, validation texts also {', '.join(sorted(strange))}; "
            "at least two are needed, each in the training part."
        )
    parts = tuple(
        (part, LabelCorpus(corpus.name, corpus.origin, _without(corpus.train, held_out), (), corpus.sha256))
        for part, corpus in corpora
    )
    return Mix(parts, validation, labels)


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
            assert section.validation_share
            return labels_file(Path(section.path), section.validation_share)
