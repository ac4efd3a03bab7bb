"""How good a tagger is: accuracy of words, F1 of whole spans, nats per token."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from models.crf import Crf, allowed_transitions
from models.network.crf import negative_log_likelihood
from models.network.tagger import Tagger
from models.spans import spans_of
from training.buckets import in_order
from training.generation.windows import IGNORED
from training.shard import ALONE, Shard
from training.tagging.batches import EncodedSentence, batch_of

SENTENCES = 32  # read at once; the figures do not depend on it


@dataclass(frozen=True)
class Scores:
    """Of a whole part.

    Attributes:
        nats: mean of -ln p(label) over tokens; with a CRF -ln p(labels) of sentences, divided by their tokens.
        counts: int64 [C, C], words of class i that were taken for class j.
        spans: by label, how many spans are right, were found, and are there; None for labels that are not BIO's.
    """

    nats: float
    counts: NDArray[np.int64]
    spans: dict[str, tuple[int, int, int]] | None

    @property
    def accuracy(self) -> float:
        """Share of the words whose likeliest class is their label."""
        return float(np.trace(self.counts) / self.counts.sum())

    @property
    def span_f1(self) -> float:
        """Micro-F1 of spans with their exact words and label."""
        return f1(*map(sum, zip(*(self.spans or {}).values(), strict=True))) if self.spans else 0.0


def f1(right: int, found: int, there: int) -> float:
    """Harmonic mean of precision and recall; 0 where nothing is right."""
    return 2 * right / (found + there) if right else 0.0


def span_counts(
    pairs: Iterable[tuple[Sequence[str], Sequence[str]]],
) -> dict[str, tuple[int, int, int]]:
    """By label: spans that are right, were found, and are there. As conlleval counts (Tjong Kim Sang & Buchholz 2000).

    Args:
        pairs: of each sentence its tags and those that were found.
    """
    right, found, there = Counter[str](), Counter[str](), Counter[str]()
    for expected, given in pairs:
        gold, guessed = spans_of(expected), spans_of(given)
        there.update(span.label for span in gold)
        found.update(span.label for span in guessed)
        right.update(span.label for span in set(gold) & set(guessed))
    return {label: (right[label], found[label], there[label]) for label in sorted(there | found)}


def scores(
    model: Tagger, sentences: Sequence[EncodedSentence], labels: Sequence[str], *, is_bio: bool, shard: Shard = ALONE
) -> Scores:
    """Of the sentences, each read whole; a word has the class of its first token, the likeliest or the CRF's.

    Leaves the model in the mode it was in and draws no random numbers. Of several processes each reads some batches.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    transitions = None if model.transitions is None else model.transitions.detach().cpu()
    crf = None if transitions is None else Crf(transitions.numpy(), labels)
    allowed = torch.from_numpy(allowed_transitions(labels))
    counts = np.zeros((len(labels), len(labels)), np.int64)
    pairs: list[tuple[list[str], list[str]]] = []
    total, num_tokens = 0.0, 0
    with torch.no_grad():
        for indices in shard.of(in_order([(len(sentence.ids),) for sentence in sentences], SENTENCES)):
            read = [sentences[i] for i in indices.tolist()]
            batch = batch_of(read)
            logits = model(batch.ids.to(device), batch.lengths.to(device)).cpu()
            if transitions is None:
                flat = logits.flatten(0, 1)
                nats = cross_entropy(flat, batch.labels.flatten(), ignore_index=IGNORED, reduction="none")
            else:
                nats = negative_log_likelihood(logits, transitions, allowed, batch.labels, batch.lengths)
            total += float(nats.double().sum())
            num_tokens += batch.num_targets
            for row, sentence in zip(logits.numpy(), read, strict=True):
                emissions = row[: len(sentence.ids)]
                best = emissions.argmax(axis=1) if crf is None else crf.best(emissions)
                expected = [sentence.labels[i] for i in sentence.firsts]
                given = best[sentence.firsts]
                np.add.at(counts, (expected, given), 1)
                if is_bio:
                    pairs.append(([labels[i] for i in expected], [labels[i] for i in given]))
    model.train(was_training)
    names = sorted({label[2:] for label in labels if label != "O"}) if is_bio else []
    by_label = span_counts(pairs)
    found = [number for name in names for number in by_label.get(name, (0, 0, 0))]
    total, tokens, *rest = shard.total([total, num_tokens, *map(float, counts.flat), *map(float, found)])
    confusion = np.asarray(rest[: counts.size], np.int64).reshape(counts.shape)
    numbers = [int(number) for number in rest[counts.size :]]
    spans = {name: (numbers[3 * i], numbers[3 * i + 1], numbers[3 * i + 2]) for i, name in enumerate(names)}
    return Scores(total / tokens, confusion, spans if is_bio else None)
