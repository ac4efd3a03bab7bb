"""The data sets by the name that a recipe gives them."""

from pathlib import Path

from training.data import chinese_reviews, comparisons, imdb, labels_file, sst2
from training.data.labels import LabelCorpus
from training.sentiment.recipe import DatasetSection


def load_labelled(section: DatasetSection) -> LabelCorpus:
    """Read the data set that a section names.

    Raises:
        DataError: it is absent or malformed.
    """
    match section.dataset:
        case "sst2":
            return sst2.load(natural=section.natural)
        case "imdb":
            return imdb.load(chunk_words=section.chunk_words)
        case "waimai" | "online-shopping":
            return chinese_reviews.load(section.dataset)
        case "comparisons":
            assert section.validation_share  # checked by DatasetSection
            return comparisons.load(section.validation_share)
        case "labels-file":
            assert section.path
            assert section.validation_share
            return labels_file.load(Path(section.path), section.validation_share)
