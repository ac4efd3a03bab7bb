"""Labelled texts as batches."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, tensor

from training.buckets import bucketed, generator_of, padded
from training.shard import Shard


class EncodedText(NamedTuple):
    """A text's token ids, at least one, its class, and how likely its teachers take each class for, if it has any."""

    ids: list[int]
    label: int
    probabilities: tuple[float, ...] | None = None


class TextBatch(NamedTuple):
    """One batch."""

    position: int  # in the epoch
    num_targets: int  # texts
    ids: Tensor  # int64 [batch, time]
    lengths: Tensor  # int64 [batch]
    labels: Tensor  # int64 [batch]
    targets: Tensor | None = None  # float32 [batch, C]: of each class its probability; None: 1 of each label

    def shard(self, shard: Shard) -> Self:
        """See training.stage.Batch: some of the texts."""
        labels = shard.rows(self.labels)
        num_targets = len(labels) if shard.rank < len(self.labels) else 0
        targets = None if self.targets is None else shard.rows(self.targets)
        return type(self)(self.position, num_targets, shard.rows(self.ids), shard.rows(self.lengths), labels, targets)


class Part(NamedTuple):
    """One data set of a mix."""

    texts: Sequence[EncodedText]
    repeat: int  # how often an epoch reads each text
    examples: int | None = None  # the most texts that an epoch reads, drawn anew for each
    fade_to: float = 1.0  # share of `examples` left in the last epoch, on a line to it


def batch_of(texts: Sequence[EncodedText], position: int = 0) -> TextBatch:
    """Texts as one batch, padded."""
    return TextBatch(
        position=position,
        num_targets=len(texts),
        ids=padded([text.ids for text in texts]),
        lengths=tensor([len(text.ids) for text in texts]),
        labels=tensor([text.label for text in texts]),
        targets=_targets_of(texts),
    )


def _targets_of(texts: Sequence[EncodedText]) -> Tensor | None:
    """Of each class its probability, where teachers have said it of a text."""
    num_classes = next((len(text.probabilities) for text in texts if text.probabilities is not None), None)
    if num_classes is None:
        return None
    certain = np.eye(num_classes, dtype=np.float32)
    return tensor(np.array([text.probabilities or certain[text.label] for text in texts], np.float32))


class TextBatches:
    """The batches of every epoch: texts of similar length together, in an order of the epoch's.

    Args:
        parts: the training texts, cut to what is read of them.
        texts: texts in a batch.
        epochs: of the whole run.
        seed: of draws, orders and left out tokens.
        token_dropout: each text loses its tokens with a probability drawn from 0 to twice this.
    """

    def __init__(self, parts: Sequence[Part], *, texts: int, epochs: int, seed: int, token_dropout: float) -> None:
        self._parts = parts
        self._texts = texts
        self._epochs = epochs
        self._seed = seed
        self._token_dropout = token_dropout

    def num_batches(self, epoch: int) -> int:
        """Batches in an epoch."""
        return -(-sum(self._num_read(part, epoch) for part in self._parts) // self._texts)

    def starting_at(self, epoch: int, position: int) -> Iterator[TextBatch]:
        """An epoch's batches from a position to its end."""
        generator = generator_of(self._seed, epoch)
        read = [part.texts[i] for part in self._parts for i in self._drawn(part, epoch, generator).tolist()]
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

    def _num_read(self, part: Part, epoch: int) -> int:
        """Texts of a part that an epoch reads."""
        if part.examples is None:
            return len(part.texts) * part.repeat
        share = 1.0 - (1.0 - part.fade_to) * epoch / max(1, self._epochs - 1)
        return min(round(part.examples * share), len(part.texts))

    def _drawn(self, part: Part, epoch: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Positions of the texts that an epoch reads."""
        if part.examples is None:
            return np.tile(np.arange(len(part.texts)), part.repeat)
        return generator.permutation(len(part.texts))[: self._num_read(part, epoch)]
