"""Multi30k (Elliott et al. 2016; French: Elliott et al. 2017): image descriptions in English, German and French."""

from models.bundle import Languages
from models.errors import DataError
from training.data.corpus import Origin, digest
from training.data.folder import read_dataset
from training.data.lines import text_of
from training.data.pairs import Pair, PairCorpus, checked_languages, without_repetitions

ORIGIN = Origin(
    title="Multi30k, task 1",
    upstream="https://github.com/multi30k/dataset/tree/master/data/task1/raw",
    licence="stated for the images only; the text is usually quoted as CC BY-NC-SA 4.0",
)
LANGUAGES = [frozenset(both) for both in ({"en", "de"}, {"en", "fr"}, {"de", "fr"})]
PLACEHOLDER = "@@"  # stands alone on two lines of train.de, where there is no translation
NOTICE = "Not for commercial use."


def load(languages: Languages) -> PairCorpus:
    """Read the data set.

    Raises:
        DataError: it is absent, or the two sides differ in their number of lines.
        ConfigError: it does not have these languages.
    """
    checked_languages(languages, LANGUAGES, "multi30k")
    files = [f"multi30k/{part}.{side}.gz" for part in ("train", "val") for side in (languages.source, languages.target)]
    raw = [read_dataset(file, ORIGIN) for file in files]
    sides = [_lines(content, file) for content, file in zip(raw, files, strict=True)]
    train, validation = _pairs(sides[0], sides[1], files[1]), _pairs(sides[2], sides[3], files[3])
    return PairCorpus("multi30k", ORIGIN, languages, train, validation, digest(*raw), NOTICE)


def _lines(raw: bytes, file: str) -> list[str]:
    """All lines, empty ones too: they are aligned by their number."""
    return [line.strip() for line in text_of(raw, file).removesuffix("\n").split("\n")]


def _pairs(sources: list[str], targets: list[str], file: str) -> tuple[Pair, ...]:
    if len(sources) != len(targets):
        raise DataError(f"{file} has {len(targets)} lines, its source {len(sources)}; download both again.")
    aligned = zip(sources, targets, strict=True)
    return without_repetitions(Pair(*pair) for pair in aligned if PLACEHOLDER not in pair)
