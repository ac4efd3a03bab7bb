"""Which sources are encoded together. Pure. A row joins once its source is encoded."""

from server.engine.length_buckets import similar_lengths
from server.engine.scheduler import Chunk, Owner, Scheduler, Sequence


class TranslationScheduler(Scheduler[Owner]):
    """See Scheduler; a prefill call encodes whole sources of similar lengths.

    Args:
        max_rows: slots; no beam is wider.
        encode_tokens: padded tokens of one encode call; a longer source is encoded alone.
        encode_share: share of the time for encode calls while rows are decoded.
    """

    def __init__(self, *, max_rows: int, encode_tokens: int, encode_share: float) -> None:
        super().__init__(max_rows=max_rows, prefill_share=encode_share)
        self._encode_tokens = encode_tokens

    def _is_prefilled(self, sequence: Sequence[Owner]) -> bool:
        return sequence.num_prefilled == sequence.num_tokens

    def _next_chunks(self) -> list[Chunk[Owner]]:
        candidates: list[Sequence[Owner]] = []
        rounds = [iter(group.prefilling) for group in self._prefilling]
        while rounds:  # the first of each request, then the second of each, and so on
            found = [(items, item) for items in rounds if (item := next(items, None)) is not None]
            candidates += [item for _, item in found]
            rounds = [items for items, _ in found]
        chosen = similar_lengths(candidates, _num_tokens, self._encode_tokens, len(candidates))
        for sequence in chosen:
            group = self._groups[sequence.group]
            self._prefilling.remove(group)
            group.prefilling.remove(sequence)
            if group.prefilling:
                self._prefilling.append(group)
        return [Chunk(sequence, 0, sequence.num_tokens) for sequence in chosen]


def _num_tokens(sequence: Sequence[Owner]) -> int:
    return sequence.num_tokens
