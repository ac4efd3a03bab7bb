"""Sentence pairs of your own: a UTF-8 file, plain or .gz, each line source<TAB>target."""

from pathlib import Path

from models.bundle import Languages
from models.errors import DataError
from training.data.corpus import Origin, digest
from training.data.lines import columns_of, lines_of
from training.data.pairs import Pair, PairCorpus, split_by_source, without_repetitions


def load(path: Path, languages: Languages, validation_share: float) -> PairCorpus:
    """Read a file of pairs.

    Args:
        path: the file; further columns are ignored.
        languages: what stands in the two columns.
        validation_share: of the different sources, drawn with a fixed seed.

    Raises:
        DataError: it cannot be read, a line has no tab, or it is too short.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); data.path names lines source<TAB>target.") from None
    rows = columns_of(lines_of(raw, str(path)), 2, str(path))
    pairs = without_repetitions(Pair(source.strip(), target.strip()) for source, target, *_ in rows)
    train, validation = split_by_source(pairs, validation_share, str(path))
    origin = Origin(title=path.name, upstream=f"your own file {path.name}", licence="as you say; none was stated")
    return PairCorpus("pairs-file", origin, languages, train, validation, digest(raw))
