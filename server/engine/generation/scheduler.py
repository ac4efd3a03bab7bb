"""Which prompts are prefilled by calls of their own, and which chunks one such call reads. Pure.

A prompt is read in one of two ways, with the same bits. A prefill call reads chunks of several prompts by `advance`;
chunks end at multiples of CHUNK, where states are cached. Or the prompt's row joins at once and its tokens are fed
(teacher-forced) inside the decode windows. Prefill calls stop the lane's other rows and are slow for few tokens, so
they are made while few rows run, for long prompts, and where the state after the prompt is needed by itself: for
several samples of one prompt, and for sessions.
"""

from server.engine.generation.prefix_cache import CHUNK
from server.engine.scheduler import Chunk, Item, Scheduler

LEAST_PREFILL = 8  # tokens: fewer are read by the row's first window


class GenerationScheduler(Scheduler[Item]):
    """See Scheduler.

    Args:
        num_slots: of the lane.
        prefill_tokens: tokens of one prefill call, at least CHUNK.
        prefill_share: share of the time for prefill calls while rows are decoded.
        prefill_max_rows: while at most this many rows run or have started, prompts are prefilled.
        forced_tokens: longest prompt whose tokens are fed inside the decode windows.
    """

    def __init__(
        self, *, num_slots: int, prefill_tokens: int, prefill_share: float, prefill_max_rows: int, forced_tokens: int
    ) -> None:
        super().__init__(num_slots=num_slots, prefill_share=prefill_share)
        if prefill_tokens < CHUNK:
            raise ValueError(f"prefill_tokens {prefill_tokens} must be >= {CHUNK}")
        self._prefill_tokens = prefill_tokens
        self._prefill_max_rows = prefill_max_rows
        self._forced_tokens = forced_tokens

    def _prefers_prefill(self, item: Item) -> bool:
        num_left = item.num_prefill - item.num_read
        has_few_rows = self.num_running + self._num_started <= self._prefill_max_rows
        return num_left > self._forced_tokens or (has_few_rows and num_left >= LEAST_PREFILL)

    def _next_chunks(self) -> list[Chunk[Item]]:
        """A chunk of each request in turn, and again, until the call is full or has one of every item."""
        chunks: list[Chunk[Item]] = []
        num_free = self._prefill_tokens
        while self._prefilling:
            group = self._prefilling[0]
            item = group.prefilling[0]
            start = item.num_read
            stop = min((start // CHUNK + 1) * CHUNK, item.num_prefill)
            if stop - start > num_free:
                break
            num_free -= stop - start
            self._prefilling.popleft()
            group.prefilling.popleft()
            if group.prefilling:
                self._prefilling.append(group)
            chunks.append(Chunk(item, start, stop))
        return chunks
