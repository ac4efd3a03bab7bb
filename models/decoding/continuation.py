"""One continuation while it is generated: its tokens become text, and it decides when it ends.

Knows tokens' texts and the options; knows nothing of models, batches or threads. It is driven by whatever makes the
tokens, and says how many may be made before it must see them. Text is made when it is asked for, or at once where a
stop string may end it or a place in the text is asked for.
"""

from bisect import bisect_left
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoding.detokenizer import Detokenizer, TokenTexts
from models.decoding.logprobs import Logprobs
from models.decoding.options import GenerationOptions
from models.decoding.stop_strings import StopFilter, StopStrings
from models.decoding.whole_tokens import num_whole_tokens

FinishReason = Literal["stop", "length"]


class PlacedLogprobs(NamedTuple):
    """Tokens of the text with their log-probabilities.

    Attributes:
        found: of n tokens.
        offsets: int64 [n], characters of the text before the one that the token begins or goes on with.
    """

    found: Logprobs
    offsets: NDArray[np.int64]

    def followed_by(self, other: "PlacedLogprobs") -> "PlacedLogprobs":
        """These, then others of the same text."""
        return PlacedLogprobs(Logprobs.joined([self.found, other.found]), np.concatenate([self.offsets, other.offsets]))


class Continuation:
    """The text of one sample of one prompt.

    Args:
        tokens: the tokenizer's token texts.
        options: the request's.
        stops: the automaton of options.stop, or None when there are no stop strings.
        end_id: the end token's id, or None.
        echo: text that comes before what is generated; stop strings are not looked for in it.

    Attributes:
        num_tokens: tokens generated so far, the end token counted.
        num_taken: those of them that had been generated when text was last taken.
        finish_reason: "stop" (end token or stop string), "length" (max_tokens), or None while it goes on.
        stop_reason: the stop string that matched, or None.
    """

    __slots__ = (
        "_detokenizer",
        "_end_id",
        "_filter",
        "_max_tokens",
        "_min_tokens",
        "_num_echoed",
        "_num_made",
        "_num_read",
        "_num_shown",
        "_offsets",
        "_pieces",
        "_placed",
        "_texts",
        "_tokens",
        "finish_reason",
        "num_taken",
        "num_tokens",
        "stop_reason",
    )

    def __init__(
        self,
        tokens: TokenTexts,
        options: GenerationOptions,
        stops: StopStrings | None,
        end_id: int | None,
        echo: str = "",
    ) -> None:
        self._texts = tokens
        self._detokenizer = Detokenizer(tokens)
        self._filter = None if stops is None else StopFilter(stops)
        self._max_tokens = options.max_tokens
        self._min_tokens = options.min_tokens
        self._end_id = end_id
        self._tokens: list[int] = []  # all but the end token
        self._num_read = 0  # of them; the text of the others nobody has needed yet
        self._pieces: list[str] = [echo] if echo else []
        self._num_echoed = len(echo)
        self._num_made = self._num_shown = len(echo)  # characters: of all tokens, and those of them that are certain
        self._placed: list[Logprobs] = []  # not yet taken
        self._offsets: list[int] = []  # of their tokens
        self.num_tokens = self.num_taken = 0
        self.finish_reason: FinishReason | None = None
        self.stop_reason: str | None = None

    @property
    def num_until_end(self) -> int:
        """Tokens after which it may end, the end token apart: with stop strings after each, else only with the last."""
        return 1 if self._filter is not None else self._max_tokens - self.num_tokens

    def extend(self, tokens: list[int], logprobs: Logprobs | None = None) -> bool:
        """Take the next tokens, as far as the continuation goes; what comes after its end is ignored.

        Args:
            tokens: at least one, the end token included where it was chosen.
            logprobs: of all these tokens, if they are wanted; an end token has no place in the text.

        Returns:
            Whether the continuation has ended; then it takes no more.
        """
        tokens = tokens[: self._max_tokens - self.num_tokens]
        is_ended = self._end_id in tokens
        if is_ended:
            tokens = tokens[: tokens.index(self._end_id)]  # type: ignore[arg-type]  # it is in it
        if self._filter is None and logprobs is None:
            self._tokens += tokens
            self.num_tokens += len(tokens)
        elif self._extend_one_by_one(tokens, logprobs):
            return True
        if is_ended:
            self.num_tokens += 1
            self._end("stop")
        elif self.num_tokens >= self._max_tokens:
            self._end("length")
        return self.finish_reason is not None

    def _extend_one_by_one(self, tokens: list[int], logprobs: Logprobs | None) -> bool:
        """Take tokens with the place of each, as far as a stop string lets; whether one has ended it."""
        num_before = self.num_tokens
        for token in tokens:
            if logprobs is not None:
                self._offsets.append(self._num_made)
            self._tokens.append(token)
            self.num_tokens += 1
            self._read()
            if self.finish_reason is not None:
                break
        if logprobs is not None and self.num_tokens > num_before:
            self._placed.append(logprobs.part(0, self.num_tokens - num_before))
        return self.finish_reason is not None

    def take(self) -> str:
        """The text that has become certain since the last call. What it has given it never takes back."""
        self._read()
        self.num_taken = self.num_tokens
        text = "".join(self._pieces)
        self._pieces.clear()
        return text

    def take_last(self) -> str:
        """All the text, once no more tokens come."""
        if self.finish_reason is None:
            self._end("stop")
        return self.take()

    def take_placed(self) -> PlacedLogprobs | None:
        """The tokens whose text `take` has begun to give since the last call, in order; None where there are none."""
        num_certain = len(self._offsets)
        if self.finish_reason != "length":  # which cuts nothing off
            num_certain = bisect_left(self._offsets, self._num_shown)
        if not num_certain:
            return None
        found = Logprobs.joined(self._placed)
        offsets = np.array(self._offsets[:num_certain], np.int64)
        self._placed = [found.part(num_certain, len(found.tokens))] if num_certain < len(found.tokens) else []
        del self._offsets[:num_certain]
        return PlacedLogprobs(found.part(0, num_certain), offsets)

    def whole_tokens(self) -> list[int]:
        """Once it has ended: the tokens that its text holds whole, without the end token (see num_whole_tokens)."""
        if self.stop_reason is None:  # nothing was cut off
            return self._tokens
        return self._tokens[: num_whole_tokens(self._texts, self._tokens, self._num_shown - self._num_echoed)]

    def _read(self) -> None:
        """Make text of the unread tokens."""
        unread = self._tokens[self._num_read :]
        self._num_read = len(self._tokens)
        self._show(self._detokenizer.push_all(unread))

    def _show(self, piece: str) -> None:
        if not piece:
            return
        self._num_made += len(piece)
        if self._filter is None:
            self._add(piece)
            return
        self._add(self._filter.push(piece, may_stop=self.num_tokens >= self._min_tokens))
        if self._filter.matched is not None:
            self.finish_reason = "stop"
            self.stop_reason = self._filter.matched

    def _add(self, piece: str) -> None:
        self._num_shown += len(piece)
        self._pieces.append(piece)

    def _end(self, reason: FinishReason) -> None:
        """End, as no more tokens come: a character cut in the middle is shown, then what a stop string held back."""
        self._read()
        self._show(self._detokenizer.finish())
        if self.finish_reason is None:
            if self._filter is not None:
                self._add(self._filter.finish())
            self.finish_reason = reason
