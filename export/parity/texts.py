"""The texts that verification reads, as token ids: random ragged batches, and a user's text file."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from models.bundle import Bundle
from models.errors import ExportError
from models.word_ids import WordEncoder

SOURCES = ((1, 1), (1, 7), (2, 2), (5, 17), (7, 64), (33, 20))  # batch, longest text
NUM_TEXTS = 32
MAX_TOKENS = 160  # of one text


def ragged_texts(vocab_size: int, seed: int, shapes: Iterable[tuple[int, int]]) -> list[list[list[int]]]:
    """Random texts for every shape (batch, longest text), one of them as long as the shape says."""
    generator = np.random.default_rng(seed)
    batches = []
    for batch, longest in shapes:
        lengths = generator.integers(1, longest + 1, size=batch)
        lengths[generator.integers(batch)] = longest
        batches.append([generator.integers(vocab_size, size=length).tolist() for length in lengths])
    return batches


def texts_of_file(path: Path, bundle: Bundle) -> list[list[int]]:
    """Token ids of a file's texts, at most 32 of at most 160 tokens.

    Args:
        path: UTF-8. For a task that continues text one running text, cut into pieces; for others a text a line.
        bundle: whose tokenizer and task.

    Returns:
        Sources that are decoded end with the end token.

    Raises:
        ExportError: the file is not UTF-8, or holds too little.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ExportError(f"{path} is not UTF-8 at byte {error.start}. Save it as UTF-8.") from error
    tokenizer, words = bundle.tokenizer, bundle.words
    task = bundle.task
    encode = tokenizer.encode if words is None else partial(_word_ids, WordEncoder(tokenizer, words))
    if task.engine == "decode":
        ids = tokenizer.encode(content)
        length = min(MAX_TOKENS, len(ids))
        starts = range(0, max(1, len(ids) - length + 1), max(1, length))
        texts = [ids[start : start + length] for start in list(starts)[:NUM_TEXTS]]
    else:
        lines = [line.strip() for line in content.splitlines() if line.strip()]
        texts = [encode(line) for line in lines[:NUM_TEXTS]]
        end = [] if tokenizer.end_id is None or task.engine == "batch" else [tokenizer.end_id]
        texts = [[*ids[: MAX_TOKENS - len(end)], *end] for ids in texts if ids]
    if not texts or len(texts[0]) < 2:
        raise ExportError(f"{path} holds no text to verify with: it needs a line of at least two tokens.")
    return texts


def _word_ids(encoder: WordEncoder, line: str) -> list[int]:
    return encoder.encode([line[start:end] for start, end in encoder.splitter.split(line)]).ids
