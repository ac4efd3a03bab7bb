"""Labelled texts of your own: a UTF-8 file, plain or .gz, each line text<TAB>label."""

from pathlib import Path

from models.errors import DataError
from training.data.corpus import Origin, digest
from training.data.labels import LabelCorpus, Labelled, split_shuffled, unambiguous
from training.data.lines import columns_of, lines_of


def load(path: Path, validation_share: float) -> LabelCorpus:
    """Read a file of labelled texts.

    Args:
        path: the file; further columns are ignored. Any words can be labels.
        validation_share: of the texts, drawn with a fixed seed.

    Raises:
        DataError: it cannot be read, a line has no tab or no label, or it is too short.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); path names lines text<TAB>label.") from None
    rows = columns_of(lines_of(raw, str(path)), 2, str(path))
    for number, row in enumerate(rows, 1):
        if not row[1].strip():
            raise DataError(f"{path} line {number} has no label after its tab; write one.")
    examples = unambiguous(Labelled(text.strip(), label.strip()) for text, label, *_ in rows)
    train, validation = split_shuffled(examples, round(len(examples) * validation_share), str(path))
    origin = Origin(title=path.name, upstream=f"your own file {path.name}", licence="as you say; none was stated")
    return LabelCorpus("labels-file", origin, train, validation, digest(raw))
