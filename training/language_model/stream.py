"""Documents as one stream of token ids, with an end token after each document where they have ends."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from models.tokenizer import Tokenizer


def stream_from_documents(documents: Iterable[str], tokenizer: Tokenizer, *, has_ends: bool) -> NDArray[np.int64]:
    """Token ids of all documents in order, int64 [num_tokens].

    Where documents have ends the stream also begins with one: serving starts a document from the end token.

    Args:
        documents: texts.
        tokenizer: has an end_id where has_ends is set.
        has_ends: whether an end token follows each document.

    Raises:
        DataError: fewer than two tokens, so nothing could be predicted.
    """
    ids: list[int] = []
    end = [tokenizer.end_id] if has_ends and tokenizer.end_id is not None else []
    ids.extend(end)
    for document in documents:
        ids.extend(tokenizer.encode(document))
        ids.extend(end)
    if len(ids) < 2:
        raise DataError(f"the text gives {len(ids)} tokens; at least 2 are needed to predict one from another.")
    return np.asarray(ids, dtype=np.int64)


def num_characters(ids: NDArray[np.int64], tokenizer: Tokenizer) -> int:
    """How many characters the tokens stand for; a document's end counts as one.

    Args:
        ids: int64 [num_tokens].
        tokenizer: what made them.
    """
    ends = int((ids == tokenizer.end_id).sum()) if tokenizer.end_id is not None else 0
    return len(tokenizer.decode(ids.tolist())) + ends
