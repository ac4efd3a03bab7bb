"""Examples as batches: each a question with its answer, from a state of zeros, and the answer alone counts."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from models.errors import DataError
from models.tokenizer import Tokenizer
from training.buckets import bucketed, generator_of, in_order, padded
from training.generation.windows import IGNORED, Window


class Example(NamedTuple):
    """One document's tokens."""

    ids: list[int]  # and an end token; none before, as where a prompt is served
    start: int  # position of the answer's first


def examples_of(documents: Iterable[str], tokenizer: Tokenizer, mark: str) -> list[Example]:
    """Documents as tokens.

    Args:
        documents: texts, each with the mark.
        tokenizer: has an end token.
        mark: a character; the answer begins after the last one.

    Raises:
        DataError: a document has no mark.
    """
    end, (mark_id,) = tokenizer.end_id, tokenizer.encode(mark)
    assert end is not None, "a corpus of examples has ends"
    found = []
    for document in documents:
        ids = [*tokenizer.encode(document), end]
        if mark_id not in ids:
            raise DataError(f"document {document[:40]!r} has no {mark!r} before its answer.")
        found.append(Example(ids, len(ids) - ids[::-1].index(mark_id)))
    return found


class Examples:
    """Batches of about the same length, in an order of the epoch's.

    Args:
        examples: at least one.
        lanes: examples in a batch.
        seed: of the orders.
    """

    def __init__(self, examples: Sequence[Example], *, lanes: int, seed: int) -> None:
        self._examples = examples
        self._lanes = lanes
        self._seed = seed
        self._lengths = [(len(example.ids),) for example in examples]

    def num_batches(self, epoch: int) -> int:  # noqa: ARG002 - the same examples every epoch
        """Batches in an epoch."""
        return -(-len(self._examples) // self._lanes)

    def starting_at(self, epoch: int, position: int) -> Iterator[Window]:
        """An epoch's batches from a position to its end."""
        batches = bucketed(self._lengths, self._lanes, generator_of(self._seed, epoch))
        return (self._batch(position + i, rows) for i, rows in enumerate(batches[position:]))

    def __iter__(self) -> Iterator[Window]:
        """All of them, shortest first: for reading a validation part."""
        return (self._batch(i, rows) for i, rows in enumerate(in_order(self._lengths, self._lanes)))

    def _batch(self, position: int, rows: NDArray[Any]) -> Window:
        chosen = [self._examples[i] for i in rows.tolist()]
        ids = padded([example.ids for example in chosen])
        targets = [[IGNORED] * (example.start - 1) + example.ids[example.start :] for example in chosen]
        return Window.of(position, ids[:, :-1], padded(targets, IGNORED))
