"""Token ids to text as they come. Knows each token's bytes; knows nothing of stop strings or of when to end.

A token may end inside a UTF-8 character, so bytes wait until their character is whole. The pieces joined are exactly
`bytes.decode("utf-8", errors="replace")` of all tokens' bytes: text never changes once given.
"""

from codecs import utf_8_decode
from collections.abc import Sequence


class TokenTexts:
    """What each token adds to the text; one per tokenizer, shared by its detokenizers.

    Args:
        token_bytes: the bytes of each id, as Tokenizer.token_bytes.
    """

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self.token_bytes = token_bytes
        self.texts = tuple(_text_or_none(content) for content in token_bytes)

    def shown(self, token: int) -> str:
        """A token by itself; one that is not whole characters as "bytes:" and its bytes, so that no two look alike."""
        text = self.texts[token]
        if text is not None:
            return text
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in self.token_bytes[token])


class Detokenizer:
    """Makes text of one sequence's tokens."""

    def __init__(self, tokens: TokenTexts) -> None:
        self._tokens = tokens
        self._pending = b""  # the start of a character

    def push(self, token: int) -> str:
        """The text that the token completes; empty while a character is not whole."""
        if not self._pending:
            text = self._tokens.texts[token]
            if text is not None:
                return text
        content = self._pending + self._tokens.token_bytes[token]
        decoded, num_used = utf_8_decode(content, "replace", False)
        self._pending = content[num_used:]
        return decoded

    def push_all(self, tokens: Sequence[int]) -> str:
        """The text that the tokens complete, as `push` of one after the other gives it."""
        if not self._pending:
            known = self._tokens.texts
            texts = [known[token] for token in tokens]
            if None not in texts:
                return "".join(texts)  # type: ignore[arg-type]  # no None is in it
        return "".join([self.push(token) for token in tokens])

    @property
    def unfinished(self) -> str:
        """What `finish` would give now."""
        return utf_8_decode(self._pending, "replace", True)[0]

    def finish(self) -> str:
        """What remains when no token follows: U+FFFD for a character that was not completed."""
        decoded = self.unfinished
        self._pending = b""
        return decoded


def _text_or_none(content: bytes) -> str | None:
    """The bytes as text, when they are whole characters."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
