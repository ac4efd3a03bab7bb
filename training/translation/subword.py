"""Subword regularisation of training sources: BPE dropout (Provilkov et al. 2020).

The library's own BPE dropout draws from a generator that cannot be seeded, so a run could not resume to the same bytes;
this one draws from the run's.
"""

import itertools
import json
from collections.abc import Iterator, Sequence

import numpy as np
from tokenizers import Tokenizer as BackendTokenizer
from torch import tensor

from models.tokenizer import Tokenizer
from training.buckets import generator_of, padded
from training.translation.batches import PairBatch, PairBatches


class BpeDropout:
    """Splits a text into tokens by the tokenizer's merges, each of which is left out with some probability.

    Args:
        tokenizer: of kind byte-bpe.
        share: probability with which a merge that could be made is left out.
    """

    def __init__(self, tokenizer: Tokenizer, share: float) -> None:
        description = json.loads(tokenizer.to_json())
        model = description["model"]
        merges = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
        self._ranks = {(left, right): rank for rank, (left, right) in enumerate(merges)}
        self._ids: dict[str, int] = model["vocab"]
        self._backend = BackendTokenizer.from_str(tokenizer.to_json())
        self._share = share

    def encode(self, text: str, generator: np.random.Generator) -> list[int]:
        """Token ids of a text, which decode to the text again."""
        normal = self._backend.normalizer.normalize_str(text)
        pieces = self._backend.pre_tokenizer.pre_tokenize_str(normal)
        return [self._ids[token] for piece, _ in pieces for token in self._merged(list(piece), generator)]

    def _merged(self, parts: list[str], generator: np.random.Generator) -> list[str]:
        """Algorithm 1 of the paper: of the merges that are not left out this time the first one is made, and so on."""
        while len(parts) > 1:
            kept = generator.random(len(parts) - 1) >= self._share
            ranks = [
                (self._ranks[pair], i)
                for i, pair in enumerate(itertools.pairwise(parts))
                if kept[i] and pair in self._ranks
            ]
            if not ranks:
                break
            _, i = min(ranks)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return parts


class SampledSources:
    """See training.stage.Batches: those of translation with their sources split anew each time they are read.

    Args:
        batches: whose sources are split.
        tokenizer: of kind byte-bpe, with an end token.
        share: see BpeDropout.
        seed: of the draws.
    """

    def __init__(self, batches: PairBatches, tokenizer: Tokenizer, *, share: float, seed: int) -> None:
        assert tokenizer.end_id is not None
        self._batches = batches
        self._tokenizer = tokenizer
        self._end_id = tokenizer.end_id
        self._dropout = BpeDropout(tokenizer, share)
        self._seed = seed

    def num_batches(self, epoch: int) -> int:
        """Batches in an epoch."""
        return self._batches.num_batches(epoch)

    def starting_at(self, epoch: int, position: int) -> Iterator[PairBatch]:
        """An epoch's batches from a position to its end."""
        for batch in self._batches.starting_at(epoch, position):
            generator = generator_of(self._seed, epoch, batch.position, 1)  # the batch itself draws without the 1
            lengths = batch.lengths.tolist()
            sources = [
                self._split_anew(row[:length], generator)
                for row, length in zip(batch.ids.tolist(), lengths, strict=True)
            ]
            yield batch._replace(ids=padded(sources), lengths=tensor([len(source) for source in sources]))

    def _split_anew(self, ids: Sequence[int], generator: np.random.Generator) -> list[int]:
        text = self._tokenizer.decode(ids[:-1])
        return [*self._dropout.encode(text, generator), self._end_id]
