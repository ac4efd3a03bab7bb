"""Tagged sentences as batches."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
from torch import Tensor, tensor

from training.buckets import bucketed, generator_of, padded
from training.generation.windows import IGNORED
from training.shard import Shard


class EncodedSentence(NamedTuple):
    """A sentence's tokens, at least one.

    Attributes:
        ids: of each token.
        labels: of each token the class of its word.
        firsts: of each word its first token.
    """

    ids: list[int]
    labels: list[int]
    firsts: list[int]


class SentenceBatch(NamedTuple):
    """One batch."""

    position: int  # in the epoch
    num_targets: int  # tokens
    ids: Tensor  # int64 [batch, time]
    lengths: Tensor  # int64 [batch]
    labels: Tensor  # int64 [batch, time]; IGNORED past each sentence's end

    def shard(self, shard: Shard) -> Self:
        """See training.stage.Batch: some of the sentences."""
        lengths, labels = shard.rows(self.lengths), shard.rows(self.labels)
        num_targets = int(lengths.sum()) if shard.rank < len(self.labels) else 0
        return type(self)(self.position, num_targets, shard.rows(self.ids), lengths, labels)


def batch_of(sentences: Sequence[EncodedSentence], position: int = 0) -> SentenceBatch:
    """Sentences as one batch, padded."""
    return SentenceBatch(
        position=position,
        num_targets=sum(len(sentence.ids) for sentence in sentences),
        ids=padded([sentence.ids for sentence in sentences]),
        lengths=tensor([len(sentence.ids) for sentence in sentences]),
        labels=padded([sentence.labels for sentence in sentences], IGNORED),
    )


class SentenceBatches:
    """The batches of every epoch: sentences of similar length together, in an order of the epoch's.

    Args:
        sentences: the training part, cut to what is read of it.
        size: sentences in a batch.
        seed: of orders and of tokens read as unknown.
        token_dropout: share of the tokens that are read as unknown.
        vocab_size: of the tokenizer, whose id of what is unknown is 0.
    """

    def __init__(
        self, sentences: Sequence[EncodedSentence], *, size: int, seed: int, token_dropout: float, vocab_size: int
    ) -> None:
        self._sentences = sentences
        self._size = size
        self._seed = seed
        self._token_dropout = token_dropout
        self._vocab_size = vocab_size

    def num_batches(self, epoch: int) -> int:
        """Batches in an epoch."""
        del epoch
        return -(-len(self._sentences) // self._size)

    def starting_at(self, epoch: int, position: int) -> Iterator[SentenceBatch]:
        """An epoch's batches from a position to its end."""
        lengths = [(len(sentence.ids) // 4,) for sentence in self._sentences]
        batches = bucketed(lengths, self._size, generator_of(self._seed, epoch))
        for number in range(position, len(batches)):
            dice = generator_of(self._seed, epoch, number)
            yield batch_of([self._thinned(self._sentences[i], dice) for i in batches[number].tolist()], number)

    def _thinned(self, sentence: EncodedSentence, generator: np.random.Generator) -> EncodedSentence:
        """The sentence with some of its tokens unknown; their other fields stay."""
        if not self._token_dropout:
            return sentence
        is_unknown = generator.random(len(sentence.ids)) < self._token_dropout
        ids = [i - i % self._vocab_size if lost else i for i, lost in zip(sentence.ids, is_unknown, strict=True)]
        return sentence._replace(ids=ids)
