"""Two files of Chinese reviews from ChineseNlpCorpus: food delivery (waimai_10k) and ten kinds of goods.

Both are CSV with a header and sorted by label, so they are shuffled; some lines begin with a byte order mark.
"""

import csv
import io
from typing import Literal

from models.errors import DataError
from training.data.corpus import Origin, digest
from training.data.folder import read_dataset
from training.data.labels import LabelCorpus, Labelled, polarity, shuffled, unambiguous
from training.data.lines import text_of

Collection = Literal["waimai", "online-shopping"]
FOLDERS: dict[Collection, str] = {"waimai": "waimai_10k", "online-shopping": "online_shopping_10_cats"}


def load(collection: Collection) -> LabelCorpus:
    """Read one of the two.

    Raises:
        DataError: it is absent or malformed.
    """
    folder = FOLDERS[collection]
    origin = Origin(
        title=folder,
        upstream=f"https://github.com/SophonPlus/ChineseNlpCorpus/tree/master/datasets/{folder} (split it, gzip both)",
        licence="none stated; SophonPlus/ChineseNlpCorpus",
    )
    files = [f"{folder}/train.csv.gz", f"{folder}/val.csv.gz"]
    raw = [read_dataset(file, origin) for file in files]
    train, validation = (_examples(content, file) for content, file in zip(raw, files, strict=True))
    held_out = {example.text for example in validation}
    kept = tuple(example for example in unambiguous(train) if example.text not in held_out)
    return LabelCorpus(collection, origin, shuffled(kept), validation, digest(*raw))


def _examples(raw: bytes, file: str) -> tuple[Labelled, ...]:
    rows = csv.DictReader(io.StringIO(text_of(raw, file), newline=""))
    if not {"label", "review"} <= set(rows.fieldnames or ()):
        raise DataError(f"{file} has columns {rows.fieldnames}; label and review are needed. Download it again.")
    examples = (
        Labelled(" ".join((row["review"] or "").replace("\ufeff", "").split()), polarity(row["label"], file, number))
        for number, row in enumerate(rows, 2)
    )
    return tuple(example for example in examples if example.text)
