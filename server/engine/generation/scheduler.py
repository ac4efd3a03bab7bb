"""Which prompts are prefilled by calls of their own, and which chunks one such call reads. Pure.

A prompt is read in one of two ways, with the same bits. A prefill call reads chunks of several prompts by `advance`;
chunks end at multiples of CHUNK, where states are cached. Or the prompt's row joins at once and its tokens are forced
rows of the decoding windows. Prefill calls stop the lane's other rows and are dear when small, so they are made while
few rows run, for long prompts, and where the state after the prompt is needed by itself: for several samples of one
prompt, and for sessions.
"""

from server.engine.generation.prefix_cache import CHUNK
from server.engine.scheduler import Chunk, Owner, Scheduler, Sequence

LEAST_PREFILL = 8  # tokens: fewer are read by the row's first window


class GenerationScheduler(Scheduler[Owner]):
    """See Scheduler.

    Args:
        max_rows: slots.
        prefill_tokens: tokens of one prefill call, at least CHUNK.
        prefill_share: share of the time for prefill calls while rows are decoded.
        light_rows: up to so many rows that run or have begun, prompts are prefilled.
        forced_tokens: longest prompt whose tokens are forced rows of the decoding windows.
    """

    def __init__(
        self, *, max_rows: int, prefill_tokens: int, prefill_share: float, light_rows: int, forced_tokens: int
    ) -> None:
        super().__init__(max_rows=max_rows, prefill_share=prefill_share)
        if prefill_tokens < CHUNK:
            raise ValueError(f"prefill_tokens {prefill_tokens} must be >= {CHUNK}")
        self._prefill_tokens = prefill_tokens
        self._light_rows = light_rows
        self._forced_tokens = forced_tokens

    def _is_prefilled(self, sequence: Sequence[Owner]) -> bool:
        num_left = sequence.num_tokens - 1 - sequence.num_prefilled
        if not num_left:
            return True
        if sequence.needs_prefill:
            return False
        is_light = self.num_running + self._num_begun <= self._light_rows
        sequence.needs_prefill = num_left > self._forced_tokens or (is_light and num_left >= LEAST_PREFILL)
        return not sequence.needs_prefill

    def _next_chunks(self) -> list[Chunk[Owner]]:
        """A chunk of each request in turn, and again, until the call is full or has one of every sequence."""
        chunks: list[Chunk[Owner]] = []
        num_free = self._prefill_tokens
        while self._prefilling:
            group = self._prefilling[0]
            sequence = group.prefilling[0]
            start = sequence.num_prefilled
            stop = min((start // CHUNK + 1) * CHUNK, sequence.num_tokens - 1)
            if stop - start > num_free:
                break
            num_free -= stop - start
            self._prefilling.popleft()
            group.prefilling.popleft()
            if group.prefilling:
                self._prefilling.append(group)
            chunks.append(Chunk(sequence, start, stop))
        return chunks
