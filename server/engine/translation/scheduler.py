"""Which sources are encoded together. Pure. A row joins once its source is encoded."""

from server.engine.length_buckets import length_bucket
from server.engine.scheduler import Chunk, Item, Scheduler


class TranslationScheduler(Scheduler[Item]):
    """See Scheduler; a prefill call encodes whole sources of similar lengths.

    Args:
        num_slots: of the lane; no beam is wider.
        encode_tokens: padded tokens of one encode call; a longer source is encoded alone.
        encode_share: share of the time for encode calls while rows are decoded.
    """

    def __init__(self, *, num_slots: int, encode_tokens: int, encode_share: float) -> None:
        super().__init__(num_slots=num_slots, prefill_share=encode_share)
        self._encode_tokens = encode_tokens

    def _next_chunks(self) -> list[Chunk[Item]]:
        candidates: list[Item] = []
        rounds = [iter(group.prefilling) for group in self._prefilling]
        while rounds:  # the first of each request, then the second of each, and so on
            found = [(items, item) for items in rounds if (item := next(items, None)) is not None]
            candidates += [item for _, item in found]
            rounds = [items for items, _ in found]
        chosen = length_bucket(candidates, lambda item: item.num_prefill, self._encode_tokens, len(candidates))
        for item in chosen:
            group = self._groups[item.request]
            self._prefilling.remove(group)
            group.prefilling.remove(item)
            if group.prefilling:
                self._prefilling.append(group)
        return [Chunk(item, 0, item.num_prefill) for item in chosen]
