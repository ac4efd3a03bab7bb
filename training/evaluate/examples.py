"""What a bundle is measured on: a file of the user's, whole, or a part of a data set by name.

A data set that the bundle was trained on is read as its recipe says (natural sentences, simplified characters); another
one as its recipe's defaults are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar, get_args

from models.bundle import Bundle
from models.config import checked
from models.errors import ConfigError, DataError
from models.forecaster import ForecasterConfig
from training.data.corpus import digest, text_of
from training.data.labels import LABEL_NAMES, LabelCorpus, Labelled
from training.data.pairs import Pair
from training.data.series import SOURCES, SeriesCorpus, series_file, series_of
from training.data.table import TEXT_NAMES, read_table
from training.data.tags import Tagged, columns, conllu, repaired
from training.generation.recipe import MADE_OF_EXAMPLES
from training.generation.recipe import DataSection as GenerationSection
from training.generation.recipe import DatasetName as GenerationName
from training.sentiment.mix import load_labelled
from training.sentiment.recipe import DatasetName as SentimentName
from training.sentiment.recipe import DatasetSection
from training.tagging.corpus import load_tagged
from training.tagging.recipe import DatasetName as TaggingName
from training.tagging.recipe import TaggingDataSection
from training.translation.corpus import pairs_of_section
from training.translation.recipe import DataSection as TranslationSection
from training.translation.recipe import DatasetName as TranslationName

Part = Literal["train", "validation"]
E = TypeVar("E")
_SHARE = 0.1  # of a data set that has no validation part of its own, where no recipe says it
_OWN_FILES = ("labels-file", "pairs-file", "tags-file", "text-file", "series-file")  # by their path instead


@dataclass(frozen=True)
class Examples(Generic[E]):
    """Examples with where they come from.

    Attributes:
        name: the file, or the data set and its part.
        sha256: of the raw bytes that were read.
        items: the examples.
    """

    name: str
    sha256: str
    items: Sequence[E]


class Text(NamedTuple):
    """Documents of a text.

    Attributes:
        documents: in order.
        has_ends: whether an end token follows each.
    """

    documents: tuple[str, ...]
    has_ends: bool


class Named(NamedTuple):
    """A file, or a data set's part."""

    path: Path | None
    dataset: str
    part: Part

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else f"{self.dataset}:{self.part}"


def named(data: str, datasets: Sequence[str]) -> Named:
    """What FILE or DATASET[:PART] means.

    Raises:
        DataError: there is neither a file nor a data set of this name.
    """
    path = Path(data)
    if path.is_file():
        return Named(path, "", "validation")
    name, _, part = data.partition(":")
    known = [dataset for dataset in datasets if dataset not in _OWN_FILES]
    if name in known and part in ("", "train", "validation"):
        return Named(None, name, "train" if part == "train" else "validation")
    raise DataError(
        f"{data}: no such file, and no data set of this task with a part train or validation. "
        f"Data sets: {', '.join(known)}; for instance {known[0]}:validation."
    )


def labelled_texts(data: str, bundle: Bundle | None) -> Examples[Labelled]:
    """Texts with labels: lines text<TAB>label.

    Raises:
        DataError: they are absent or malformed.
        ConfigError: the data set needs more than its name.
    """
    found = named(data, get_args(SentimentName))
    if found.path is not None:
        table = read_table(found.path, (TEXT_NAMES, LABEL_NAMES), key="FILE", unit="texts")
        for row in table.rows:
            if not row.second:
                raise DataError(f"{found.path} line {row.line} has no label; write one after its text.")
        return Examples(str(found), digest(table.raw), [Labelled(row.first, row.second) for row in table.rows])
    corpus = label_corpus(found.dataset, bundle)
    return Examples(str(found), corpus.sha256, corpus.train if found.part == "train" else corpus.validation)


def label_corpus(dataset: str, bundle: Bundle | None) -> LabelCorpus:
    """A data set of labelled texts. Raises DataError, ConfigError."""
    sections = _recipe_of(bundle).get("datasets", [])
    own = next((section for section in sections if section.get("dataset") == dataset), {"dataset": dataset})
    kept = {key: own[key] for key in ("dataset", "natural", "validation_share") if own.get(key) is not None}
    if dataset == "comparisons":
        kept.setdefault("validation_share", _SHARE)
    return load_labelled(checked(DatasetSection, kept, dataset))


def sentence_pairs(data: str, bundle: Bundle) -> Examples[Pair]:
    """Sentences with their translations: lines source<TAB>target; a source may stand in several lines.

    Raises:
        DataError: they are absent or malformed.
        ConfigError: the data set does not have the bundle's languages, or needs more than its name.
    """
    languages = bundle.record.languages
    assert languages is not None, "a translator has languages"
    found = named(data, get_args(TranslationName))
    if found.path is not None:
        names = (("source", languages.source), ("target", languages.target))
        table = read_table(found.path, names, key="FILE", unit="pairs")
        return Examples(str(found), digest(table.raw), [Pair(row.first, row.second) for row in table.rows])
    section = checked(TranslationSection, _section(bundle, found.dataset), found.dataset)
    corpus = pairs_of_section(section, languages)
    return Examples(str(found), corpus.sha256, corpus.train if found.part == "train" else corpus.validation)


def tagged_sentences(data: str, bundle: Bundle) -> Examples[Tagged]:
    """Sentences with a tag for each word: CoNLL-U (.conllu), columns parted by tabs (.tsv), or by white space.

    Raises:
        DataError: they are absent or malformed.
        ConfigError: the data set needs more than its name.
    """
    found = named(data, get_args(TaggingName))
    if found.path is not None:
        raw, where = _bytes(found.path, "sentences with a tag for each word"), str(found.path)
        kind = found.path.name.removesuffix(".gz").rpartition(".")[2]
        if kind == "conllu":
            sentences = conllu(raw, where, _recipe_of(bundle).get("column") or "upos")
        else:
            sentences = columns(raw, where, separator="\t" if kind == "tsv" else None)
        return Examples(str(found), digest(raw), [repaired(item)[0] for item in sentences])
    plain = _section(bundle, found.dataset)
    if found.dataset == "errands":
        plain.setdefault("validation_share", _SHARE)
    corpus = load_tagged(checked(TaggingDataSection, plain, found.dataset))
    return Examples(str(found), corpus.sha256, corpus.train if found.part == "train" else corpus.validation)


def text(data: str, bundle: Bundle) -> Examples[Text]:
    """A text, UTF-8, plain or .gz; of a data set one or several.

    Raises:
        DataError: it is absent or malformed.
        ConfigError: the data set is one of questions, or needs more than its name.
    """
    found = named(data, [name for name in get_args(GenerationName) if name not in MADE_OF_EXAMPLES])
    if found.path is not None:
        raw = _bytes(found.path, "a UTF-8 text")
        return Examples(str(found), digest(raw), [Text((text_of(raw, str(found.path)),), False)])
    from training.generation.task import load_corpus  # PyTorch takes seconds to load

    corpus = load_corpus(checked(GenerationSection, _section(bundle, found.dataset), found.dataset))
    documents = corpus.train if found.part == "train" else corpus.validation
    return Examples(str(found), corpus.sha256, [Text(documents, corpus.has_ends)])


def series(data: str, bundle: Bundle, steps: int | None) -> Examples[SeriesCorpus]:
    """Series, the last values of which are forecast: a CSV file as for training.

    Args:
        data: FILE or DATASET.
        bundle: has frequency, horizon and season.
        steps: how many values of each series are forecast; None: as the recipe says, of a file the horizon.

    Raises:
        DataError: they are absent or malformed.
    """
    found = named(data, list(SOURCES))
    config = bundle.config
    assert isinstance(config, ForecasterConfig), "a forecaster"
    if found.part == "train":
        raise ConfigError(f"{data}: of series the end is forecast, which is their validation part; leave out :train.")
    plain = _recipe_of(bundle)
    if found.path is not None:
        corpus = series_file(found.path, config.frequency, config.horizon, config.season, steps or config.horizon)
        return Examples(str(found), corpus.sha256, [corpus])
    corpus = series_of(found.dataset)
    if corpus.frequency != config.frequency:
        raise DataError(f"{found.dataset} has the frequency {corpus.frequency}, the bundle reads {config.frequency}.")
    held_out = steps
    if held_out is None and plain.get("dataset") == found.dataset:
        held_out = plain.get("validation_steps") or plain.get("validation_share")
    changes = {"season": config.season, "horizon": config.horizon}
    if held_out is not None:
        changes["num_validation"] = held_out
    return Examples(str(found), corpus.sha256, [SeriesCorpus(**{**vars(corpus), **changes})])


def _recipe_of(bundle: Bundle | None) -> dict[str, Any]:
    """The section data of a bundle's recipe; empty of a model that was trained elsewhere."""
    recipe = bundle.record.provenance.get("recipe") if bundle is not None else None
    found = recipe.get("data") if isinstance(recipe, dict) else None
    return dict(found) if isinstance(found, dict) else {}


def _section(bundle: Bundle, dataset: str) -> dict[str, Any]:
    """The section of a data set: that of the recipe where it is the recipe's."""
    own = _recipe_of(bundle)
    return own if own.get("dataset") == dataset else {"dataset": dataset}


def _bytes(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); it should hold {what}.") from None
