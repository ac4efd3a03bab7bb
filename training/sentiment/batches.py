"""Labelled texts as batches."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, tensor

from training.buckets import bucketed, generator_of, padded


class EncodedText(NamedTuple):
    """A text's token ids, at least one, and its class."""

    ids: list[int]
    label: int


class TextBatch(NamedTuple):
    """One batch."""

    position: int  # in the epoch
    num_targets: int  # texts
    ids: Tensor  # int64 [batch, time]
    lengths: Tensor  # int64 [batch]
    labels: Tensor  # int64 [batch]


class Part(NamedTuple):
    """One data set of a mix."""

    texts: Sequence[EncodedText]
    repeat: int  # how often an epoch reads each text
    examples: int | None  # the most texts that an epoch reads, drawn anew for each


def batch_of(texts: Sequence[EncodedText], position: int = 0) -> TextBatch:
    """Texts side by side, padded."""
    return TextBatch(
        position=position,
        num_targets=len(texts),
        ids=padded([text.ids for text in texts]),
        lengths=tensor([len(text.ids) for text in texts]),
        labels=tensor([text.label for text in texts]),
    )


class TextBatches:
    """The batches of every epoch: texts of about the same length side by side, in an order of the epoch's.

    Args:
        parts: the training texts, cut to what is read of them.
        texts: texts in a batch.
        seed: of draws, orders and left out tokens.
        token_dropout: each text loses its tokens with a probability drawn from 0 to twice this.
    """

    def __init__(self, parts: Sequence[Part], *, texts: int, seed: int, token_dropout: float) -> None:
        self._parts = parts
        self._texts = texts
        self._seed = seed
        self._token_dropout = token_dropout

    def num_batches(self, epoch: int) -> int:  # noqa: ARG002 - every epoch reads as many texts
        """Batches in an epoch."""
        return -(-sum(_num_read(part) for part in self._parts) // self._texts)

    def starting_at(self, epoch: int, position: int) -> Iterator[TextBatch]:
        """An epoch's batches from a position to its end."""
        generator = generator_of(self._seed, epoch)
        read = [part.texts[i] for part in self._parts for i in _drawn(part, generator).tolist()]
        batches = bucketed([(len(text.ids),) for text in read], self._texts, generator)
        for number in range(position, len(batches)):
            dice = generator_of(self._seed, epoch, number)
            yield batch_of([self._thinned(read[i], dice) for i in batches[number].tolist()], number)

    def _thinned(self, text: EncodedText, generator: np.random.Generator) -> EncodedText:
        """The text without some of its tokens, or whole if none would be left."""
        if not self._token_dropout:
            return text
        rate = 2 * self._token_dropout * generator.random()
        kept = [i for i, is_kept in zip(text.ids, generator.random(len(text.ids)) >= rate, strict=True) if is_kept]
        return text._replace(ids=kept or text.ids)


def _num_read(part: Part) -> int:
    every = len(part.texts) * part.repeat
    return every if part.examples is None else min(part.examples, every)


def _drawn(part: Part, generator: np.random.Generator) -> NDArray[np.int64]:
    """Positions of the texts that an epoch reads."""
    if part.examples is None:
        return np.tile(np.arange(len(part.texts)), part.repeat)
    return generator.permutation(len(part.texts))[: part.examples]
