"""A user's text file as token ids, in the pieces that verification reads."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.errors import ExportError

NUM_TEXTS = 32
MAX_TOKENS = 160  # of one text


def texts_of_file(path: Path, bundle: Bundle) -> list[list[int]]:
    """Token ids of a file's texts, at most 32 of at most 160 tokens.

    Args:
        path: UTF-8. For generation one running text, cut into pieces; for translation and sentiment a text a line.
        bundle: whose tokenizer and task.

    Returns:
        Sources of a translator end with its end token.

    Raises:
        ExportError: the file is not UTF-8, or holds too little.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ExportError(f"{path} is not UTF-8 at byte {error.start}. Save it as UTF-8.") from error
    tokenizer = bundle.tokenizer
    if bundle.record.task == "generation":
        ids = tokenizer.encode(content)
        length = min(MAX_TOKENS, len(ids))
        starts = range(0, max(1, len(ids) - length + 1), max(1, length))
        texts = [ids[start : start + length] for start in list(starts)[:NUM_TEXTS]]
    else:
        lines = [line.strip() for line in content.splitlines() if line.strip()]
        texts = [tokenizer.encode(line) for line in lines[:NUM_TEXTS]]
        end = [] if tokenizer.end_id is None or bundle.record.task != "translation" else [tokenizer.end_id]
        texts = [[*ids[: MAX_TOKENS - len(end)], *end] for ids in texts if ids]
    if not texts or len(texts[0]) < 2:
        raise ExportError(f"{path} holds no text to verify with: it needs a line of at least two tokens.")
    return texts


def rows_of_text(texts: list[list[int]]) -> NDArray[np.int64]:
    """Texts of one length as int64 [rows, time]."""
    return np.array(texts, np.int64)
