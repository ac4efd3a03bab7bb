"""Labelled texts of your own: a UTF-8 file, plain or .gz, each line text<TAB>label."""

from collections.abc import Sequence
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
    """Raises DataError for the first text that stands under two labels, naming both lines."""
    seen: dict[str, tuple[int, str]] = {}
    for number, row in enumerate(rows, 1):
        text, label = row[0].strip(), row[1].strip()
        first, other = seen.setdefault(text, (number, label))
        if label != other and text:
            raise DataError(
                f"{path} line {number}: the text {text[:40]!r} has the label {label!r} here and {other!r} in line "
                f"{first}; keep one of them."
            )
