"""The best that the bare runtime does over many sources: no HTTP, no requests that come and go, nobody who waits.

All sources are known at the start. They are encoded in batches of like length, then all rows step together with the
server's own runner; a row whose translation has ended gives its place to the next source at once, so that no step runs
with less rows than there are sources for. Greedy is an argmax and nothing else; a beam is searched by
models.decoding, its rows reordered by the runner.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoding.beam_search import BeamSearch, max_tokens_of
from models.decoding.candidates import top_candidates
from models.decoding.options import TranslationOptions
from runtime.padding import padded
from runtime.runner import Array, AttentionStepRunner, SequenceRunner

Ids = list[int]


class Encoded(NamedTuple):
    """A source that has been read.

    Attributes:
        number: its place among the sources.
        length: its tokens, the end token counted.
        memory: "memory" float32 [S, M] and "keys" float32 [S, A].
        state: float32 [D].
    """

    number: int
    length: int
    memory: dict[str, Array]
    state: NDArray[np.float32]


class BareTranslator:
    """A translator's graphs in a loop.

    Args:
        sequences: runs `encode`.
        runner: runs `step`; its capacity is at least 2 max_rows.
        end_id: the end token's id.
        max_rows: rows stepped together.
        encode_batch: sources encoded in one call.
    """

    def __init__(
        self,
        sequences: SequenceRunner,
        runner: AttentionStepRunner,
        end_id: int,
        *,
        max_rows: int,
        encode_batch: int,
    ) -> None:
        self._sequences = sequences
        self._runner = runner
        self._end_id = end_id
        self._max_rows = max_rows
        self._encode_batch = encode_batch

    def translate(self, sources: Sequence[Ids], beam_size: int) -> list[Ids]:
        """The target ids of each source, without the end token.

        Args:
            sources: token ids, the end token last.
            beam_size: 1 is greedy.
        """
        if beam_size == 1:
            return self._greedy(sources)
        return self._beams(sources, TranslationOptions(beam_size=beam_size))

    def _encoded(self, sources: Sequence[Ids]) -> Iterator[Encoded]:
        """All sources, shortest first, read in batches when the next is asked for."""
        order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
        for start in range(0, len(order), self._encode_batch):
            numbers = order[start : start + self._encode_batch]
            ids, lengths = padded([sources[i] for i in numbers])
            outputs = self._sequences.run("encode", {"ids": ids, "lengths": lengths})
            for row, (number, length) in enumerate(zip(numbers, lengths.tolist(), strict=True)):
                memory = {name: outputs[name][row, :length] for name in ("memory", "keys")}
                yield Encoded(number, length, memory, outputs["state"][row])

    def _greedy(self, sources: Sequence[Ids]) -> list[Ids]:
        found: list[Ids] = [[] for _ in sources]
        waiting = self._encoded(sources)
        options = TranslationOptions(beam_size=1)
        live: list[Ids] = []  # the translations that grow, by row
        room: list[int] = []  # tokens that each may still have
        tokens = parents = np.zeros(0, np.int64)
        while True:
            joining = _up_to(waiting, self._max_rows - len(live))
            for slot, source in enumerate(joining, self._max_rows):
                self._runner.put(slot, source.state, source.memory)
                live.append(found[source.number])
                room.append(max_tokens_of(options, source.length))
            if not live:
                return found
            new = np.arange(self._max_rows, self._max_rows + len(joining))
            logits = self._runner.step(
                np.concatenate([tokens, np.full(len(joining), self._end_id)]), np.concatenate([parents, new])
            )
            tokens = logits.argmax(axis=1)
            staying = []
            for row, token in enumerate(tokens.tolist()):
                room[row] -= 1
                if token != self._end_id:
                    live[row].append(token)
                    if room[row]:
                        staying.append(row)
            parents = np.array(staying, np.int64)
            if len(staying) < len(live):
                tokens = tokens[parents]
                live, room = [live[row] for row in staying], [room[row] for row in staying]

    def _beams(self, sources: Sequence[Ids], options: TranslationOptions) -> list[Ids]:
        found: list[Ids] = [[] for _ in sources]
        waiting = self._encoded(sources)
        live: list[tuple[int, BeamSearch]] = []
        parents: list[NDArray[np.int64]] = []
        while True:
            joining = _up_to(waiting, self._max_rows // options.beam_size - len(live))
            for slot, source in enumerate(joining, self._max_rows):
                self._runner.put(slot, source.state, source.memory)
                search = BeamSearch(options, end_id=self._end_id, source_length=source.length, keep_attention=False)
                live.append((source.number, search))
                parents.append(np.array([slot], np.int64))
            if not live:
                return found
            logits = self._runner.step(np.concatenate([search.tokens for _, search in live]), np.concatenate(parents))
            candidates = top_candidates(logits, options.beam_size + 1)
            going, parents, start = [], [], 0
            for number, search in live:
                stop = start + len(search.tokens)
                rows = candidates.of_rows(np.arange(start, stop), search.num_candidates)
                kept = search.extend(rows, self._runner.attention[start:stop])
                if search.is_over:
                    found[number] = search.results()[0].ids
                else:
                    going.append((number, search))
                    parents.append(start + kept)
                start = stop
            live = going


def _up_to(waiting: Iterator[Encoded], most: int) -> list[Encoded]:
    """The next sources, so many at most."""
    taken = []
    for _ in range(most):
        source = next(waiting, None)
        if source is None:
            break
        taken.append(source)
    return taken
