"""One continuation while it is generated: its tokens become text, and it decides when it ends.

Knows tokens' texts and the options; knows nothing of models, batches or threads. It is driven by whatever makes the
tokens, one at a time, so that a row is free before the step after its last token. Text is made when it is asked for,
or at once where a stop string may end it.
"""

from typing import Literal

from models.decoding.detokenizer import Detokenizer, TokenTexts
from models.decoding.options import GenerationOptions
from models.decoding.stop_strings import StopFilter, StopStrings

FinishReason = Literal["stop", "length"]


class Continuation:
    """The text of one sample of one prompt.

    Args:
        tokens: the tokenizer's token texts.
        options: the request's.
        stops: the automaton of options.stop, or None when there are no stop strings.
        end_id: the end token's id, or None.

    Attributes:
        num_tokens: tokens generated so far, the end token counted.
        finish_reason: "stop" (end token or stop string), "length" (max_tokens), or None while it goes on.
        stop_reason: the stop string that matched, or None.
    """

    __slots__ = (
        "_detokenizer",
        "_end_id",
        "_filter",
        "_max_tokens",
        "_min_tokens",
        "_pieces",
        "_unread",
        "finish_reason",
        "num_tokens",
        "stop_reason",
    )

    def __init__(
        self, tokens: TokenTexts, options: GenerationOptions, stops: StopStrings | None, end_id: int | None
    ) -> None:
        self._detokenizer = Detokenizer(tokens)
        self._filter = None if stops is None else StopFilter(stops)
        self._max_tokens = options.max_tokens
        self._min_tokens = options.min_tokens
        self._end_id = end_id
        self._unread: list[int] = []  # tokens whose text nobody has needed yet
        self._pieces: list[str] = []
        self.num_tokens = 0
        self.finish_reason: FinishReason | None = None
        self.stop_reason: str | None = None

    def accept(self, token: int) -> bool:
        """Take the next token.

        Returns:
            Whether the continuation has ended; then it takes no more.
        """
        self.num_tokens += 1
        if token == self._end_id:
            self._end("stop")
            return True
        self._unread.append(token)
        if self._filter is not None:
            self._read()
            if self.finish_reason is not None:
                return True
        if self.num_tokens >= self._max_tokens:
            self._end("length")
            return True
        return False

    def take(self) -> str:
        """The text that has become certain since the last call. What it has given it never takes back."""
        self._read()
        text = "".join(self._pieces)
        self._pieces.clear()
        return text

    def _read(self) -> None:
        """Make text of the unread tokens."""
        push = self._detokenizer.push
        for token in self._unread:
            self._show(push(token))
        self._unread.clear()

    def _show(self, piece: str) -> None:
        if self._filter is None or not piece:
            self._pieces.append(piece)
            return
        self._pieces.append(self._filter.push(piece, may_stop=self.num_tokens >= self._min_tokens))
        if self._filter.matched is not None:
            self.finish_reason = "stop"
            self.stop_reason = self._filter.matched

    def _end(self, reason: FinishReason) -> None:
        """End for want of more tokens: a character cut in the middle is shown, then what a stop string held back."""
        self._read()
        self._show(self._detokenizer.finish())
        if self.finish_reason is None:
            if self._filter is not None:
                self._pieces.append(self._filter.finish())
            self.finish_reason = reason
