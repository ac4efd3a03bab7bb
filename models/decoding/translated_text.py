"""A translation's tokens as text, unknown ones replaced by what the source says there (Luong et al. 2015b, section 3).

Luong, Sutskever, Le, Vinyals and Zaremba (2015), "Addressing the rare word problem in neural machine translation",
copy the source word that an unknown target word is aligned to; here the alignment is the attention. Knows tokens and
arrays; knows nothing of searches or models.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.decoding.detokenizer import Detokenizer, TokenTexts
from models.tokenizer import Tokenizer


def source_pieces(text: str, ids: Sequence[int], tokenizer: Tokenizer) -> list[str]:
    """What of the text each of its tokens stands for.

    Args:
        text: the text.
        ids: its tokens, without an end token.
        tokenizer: made the ids.

    Returns:
        A string for each id. A character tokenizer's unknown characters are themselves; a token of bytes that are not
        whole characters shows U+FFFD.
    """
    if tokenizer.kind == "character":
        characters = list(unicodedata.normalize("NFC", text))
        if len(characters) == len(ids):  # it is, unless the two libraries know different versions of Unicode
            return characters
    return [tokenizer.token_bytes[i].decode("utf-8", errors="replace") for i in ids]


class TranslatedText:
    """Makes text of one translation's tokens, as they come.

    Args:
        tokens: the tokenizer's token texts.
        unknown_id: the id that is replaced, or None.
        sources: what each source token stands for, without the end token; at least one.
    """

    def __init__(self, tokens: TokenTexts, unknown_id: int | None, sources: Sequence[str]) -> None:
        self._detokenizer = Detokenizer(tokens)
        self._unknown_id = unknown_id
        self._sources = sources

    def push(self, token: int, attention: NDArray[np.float32] | None) -> str:
        """The text that the token completes.

        Args:
            token: an id.
            attention: float32 [source_length], its weights; needed where an unknown token may come. The end token's
                position, the last, stands for no text and is left out.
        """
        if token != self._unknown_id or attention is None:
            return self._detokenizer.push(token)
        place = int(attention[: len(self._sources)].argmax())
        return self._detokenizer.finish() + self._sources[place]

    def finish(self) -> str:
        """What remains when no token follows."""
        return self._detokenizer.finish()

    def whole(self, ids: Sequence[int], attention: NDArray[np.float32]) -> str:
        """The text of all tokens.

        Args:
            ids: without the end token.
            attention: float32 [length, source_length], a row for each of them; or [0, source_length].
        """
        rows = attention if len(attention) else [None] * len(ids)
        return "".join(self.push(token, row) for token, row in zip(ids, rows, strict=False)) + self.finish()
