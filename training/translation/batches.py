"""Sentence pairs as batches for teacher forcing."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
from torch import Tensor, tensor

from models.tokenizer import Tokenizer
from training.buckets import bucketed, generator_of, padded
from training.data.pairs import Pair
from training.shard import Shard

IGNORED = -100  # a target that does not count: cross_entropy's ignore_index


class PairBatch(NamedTuple):
    """One batch."""

    position: int  # in the epoch
    num_targets: int  # target tokens, end tokens counted
    ids: Tensor  # int64 [batch, source], each row its tokens and <eos>
    lengths: Tensor  # int64 [batch]
    inputs: Tensor  # int64 [batch, time], <eos> first: what the decoder reads
    targets: Tensor  # int64 [batch, time], the token after each input; IGNORED past a row's end

    def shard(self, shard: Shard) -> Self:
        """See training.stage.Batch: some of the pairs."""
        ids, lengths, inputs, targets = map(shard.rows, (self.ids, self.lengths, self.inputs, self.targets))
        num_targets = int((targets != IGNORED).sum()) if shard.rank < len(self.ids) else 0
        return type(self)(self.position, num_targets, ids, lengths, inputs, targets)


class EncodedPair(NamedTuple):
    """A pair as token ids, each side with its end token."""

    source: list[int]
    target: list[int]

    @property
    def lengths(self) -> tuple[int, int]:
        """What batches are sorted by: the decoder's work weighs more."""
        return len(self.target), len(self.source)


def encoded(pair: Pair, tokenizer: Tokenizer) -> EncodedPair:
    """The pair's ids; the tokenizer has an end token."""
    assert tokenizer.end_id is not None
    return EncodedPair(
        [*tokenizer.encode(pair.source), tokenizer.end_id], [*tokenizer.encode(pair.target), tokenizer.end_id]
    )


def batch_of(pairs: Sequence[EncodedPair], end_id: int, position: int = 0) -> PairBatch:
    """Pairs as one batch, padded."""
    return PairBatch(
        position=position,
        num_targets=sum(len(pair.target) for pair in pairs),
        ids=padded([pair.source for pair in pairs]),
        lengths=tensor([len(pair.source) for pair in pairs]),
        inputs=padded([[end_id, *pair.target[:-1]] for pair in pairs]),
        targets=padded([pair.target for pair in pairs], IGNORED),
    )


class PairBatches:
    """The batches of every epoch: pairs of similar length together, in an order of the epoch's.

    Args:
        pairs: the training pairs.
        tokenizer: has an end token.
        sentences: pairs in a batch.
        seed: of the orders and of the variants.
        source_variants: share of the sources that are read in a variant.
    """

    def __init__(
        self, pairs: Sequence[Pair], tokenizer: Tokenizer, *, sentences: int, seed: int, source_variants: float
    ) -> None:
        assert tokenizer.end_id is not None
        self._pairs = pairs
        self._encoded = [encoded(pair, tokenizer) for pair in pairs]
        self._tokenizer = tokenizer
        self._end_id = tokenizer.end_id
        self._sentences = sentences
        self._seed = seed
        self._source_variants = source_variants

    @property
    def num_tokens(self) -> int:
        """Target tokens of an epoch, end tokens counted."""
        return sum(len(pair.target) for pair in self._encoded)

    @property
    def longest(self) -> tuple[int, int]:
        """Tokens of the longest target and of the longest source."""
        return max(len(pair.target) for pair in self._encoded), max(len(pair.source) for pair in self._encoded)

    def num_batches(self, epoch: int) -> int:  # noqa: ARG002 - every epoch reads the same pairs
        """Batches in an epoch."""
        return -(-len(self._pairs) // self._sentences)

    def starting_at(self, epoch: int, position: int) -> Iterator[PairBatch]:
        """An epoch's batches from a position to its end."""
        lengths = [pair.lengths for pair in self._encoded]
        batches = bucketed(lengths, self._sentences, generator_of(self._seed, epoch))
        for number in range(position, len(batches)):
            generator = generator_of(self._seed, epoch, number)
            yield batch_of([self._read(i, generator) for i in batches[number].tolist()], self._end_id, number)

    def _read(self, index: int, generator: np.random.Generator) -> EncodedPair:
        """A pair, or its source in a variant."""
        pair = self._encoded[index]
        if self._source_variants and generator.random() < self._source_variants:
            variant = source_variant(self._pairs[index].source, int(generator.integers(3)))
            return pair._replace(source=[*self._tokenizer.encode(variant), self._end_id])
        return pair


def source_variant(text: str, number: int) -> str:
    """The text as it is often typed: 0 without its final punctuation, 1 in lower case, 2 both."""
    bare = re.sub(r"[.!?。！？]+$", "", text) if number != 1 else text
    return bare.lower() if number else bare
