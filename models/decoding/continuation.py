"""One continuation while it is generated: its tokens become text, and it decides when it ends.

Knows tokens' texts and the options; knows nothing of models, batches or threads. It is driven by whatever makes the
tokens, and says how many may be made before it must see them. Text is made when it is asked for, or at once where a
stop string may end it or a place in the text is asked for.
"""

from typing import Literal, NamedTuple

from models.decoding.detokenizer import Detokenizer, TokenTexts
from models.decoding.logprobs import TokenLogprob
from models.decoding.options import GenerationOptions
from models.decoding.stop_strings import StopFilter, StopStrings
from models.decoding.whole_tokens import num_whole_tokens

FinishReason = Literal["stop", "length"]


class PlacedLogprob(NamedTuple):
    """A token of the text with its log-probability.

    Attributes:
        token: as TokenTexts.shown.
        logprob: nats.
        top: the likeliest tokens there and their log-probabilities.
        offset: characters of the text before the one that the token begins or goes on with.
    """

    token: str
    logprob: float
    top: dict[str, float]
    offset: int


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
        self._placed: list[PlacedLogprob] = []  # not yet taken
        self.num_tokens = self.num_taken = 0
        self.finish_reason: FinishReason | None = None
        self.stop_reason: str | None = None

    @property
    def num_until_end(self) -> int:
        """Tokens after which it may end, the end token apart: with stop strings after each, else only with the last."""
        return 1 if self._filter is not None else self._max_tokens - self.num_tokens

    def extend(self, tokens: list[int]) -> bool:
        """Take the next tokens, as far as the continuation goes; what comes after its end is ignored.

        Args:
            tokens: at least one, the end token included where it was chosen.

        Returns:
            Whether the continuation has ended; then it takes no more.
        """
        tokens = tokens[: self._max_tokens - self.num_tokens]
        is_ended = self._end_id in tokens
        if is_ended:
            tokens = tokens[: tokens.index(self._end_id)]  # type: ignore[arg-type]  # it is in it
        if self._filter is None:
            self._tokens += tokens
            self.num_tokens += len(tokens)
        else:
            for token in tokens:
                self._tokens.append(token)
                self.num_tokens += 1
                self._read()
                if self.finish_reason is not None:
                    return True
        if is_ended:
            self.num_tokens += 1
            self._end("stop")
        elif self.num_tokens >= self._max_tokens:
            self._end("length")
        return self.finish_reason is not None

    def place(self, found: TokenLogprob) -> None:
        """Keep what is known of the token that `extend` is given next; an end token has no place in the text."""
        if found.token == self._end_id:
            return
        self._read()
        shown = self._texts.shown
        top = {shown(token): logprob for token, logprob in found.top}
        self._placed.append(PlacedLogprob(shown(found.token), found.logprob, top, self._num_made))

    def take(self) -> str:
        """The text that has become certain since the last call. What it has given it never takes back."""
        self._read()
        self.num_taken = self.num_tokens
        text = "".join(self._pieces)
        self._pieces.clear()
        return text

    def take_placed(self) -> tuple[PlacedLogprob, ...]:
        """The tokens whose text `take` has begun to give since the last call, in order."""
        if not self._placed:
            return ()
        if self.finish_reason == "length":  # nothing was cut off
            num_certain = len(self._placed)
        else:
            num_certain = sum(placed.offset < self._num_shown for placed in self._placed)
        placed = tuple(self._placed[:num_certain])
        del self._placed[:num_certain]
        return placed

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
