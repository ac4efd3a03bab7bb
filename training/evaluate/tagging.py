"""A tagger: F1 of whole spans, accuracy of words, and each label's figures.

The words are given, as in /v1/tag with `tokens`; a word has the label of its first token. A word of which the tokenizer
knows nothing has none, and counts as outside of spans, or as wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.errors import DataError
from models.spans import OUTSIDE, are_span_tags
from models.word_ids import WordEncoder
from training.data.tags import Tagged
from training.evaluate.answers import ServedBundle
from training.evaluate.evaluation import Evaluation, Listing
from training.evaluate.examples import Examples
from training.evaluate.resampling import Comparison, Floats, figure, paired_bootstrap
from training.evaluate.sentiment import ratio

_NONE = "(none)"


@dataclass(frozen=True, kw_only=True)
class TaggingEvaluation(Evaluation):
    """See Evaluation.

    Attributes:
        stats: [sentences, 5]: words that are right, words, spans that are right, were found, are there.
        is_bio: whether labels are those of spans.
    """

    stats: Floats
    is_bio: bool

    def compared(self, other: "TaggingEvaluation") -> list[Comparison]:
        """The paired bootstrap over sentences, whose words are not independent of each other."""
        found = [paired_bootstrap("accuracy", self.stats[:, :2], other.stats[:, :2], ratio)]
        if self.is_bio and other.is_bio:
            found.insert(0, paired_bootstrap("span_f1", self.stats[:, 2:], other.stats[:, 2:], span_f1))
        return found


def evaluate_tagging(served: ServedBundle, examples: Examples[Tagged]) -> TaggingEvaluation:
    """Measure a tagger.

    Args:
        served: the bundle.
        examples: sentences with their tags.

    Raises:
        DataError: none of the tags is a label of the bundle.
    """
    from training.tagging.evaluation import span_counts  # PyTorch takes seconds to load

    labels = served.model.labels
    tags = {tag for item in examples.items for tag in item.tags}
    if not tags & set(labels) - {OUTSIDE}:
        raise DataError(
            f"{examples.name} has the tags {', '.join(sorted(tags)[:10])}, none of which the bundle knows. Its labels: "
            f"{', '.join(labels)}."
        )
    is_bio = are_span_tags(labels)
    answers = word_labels(served, [item.words for item in examples.items], OUTSIDE if is_bio else _NONE)
    pairs = [(item.tags, found) for item, found in zip(examples.items, answers, strict=True)]
    rows = []
    for expected, found in pairs:
        spans = span_counts([(expected, found)]) if is_bio else {}
        right, given, there = (sum(counts[i] for counts in spans.values()) for i in range(3))
        rows.append([sum(map(str.__eq__, expected, found)), len(expected), right, given, there])
    stats = np.array(rows, np.float64)
    figures = {"accuracy": figure(stats[:, :2], ratio)}
    if is_bio:
        figures = {"span_f1": figure(stats[:, 2:], span_f1), **figures}
    return TaggingEvaluation(
        bundle=served.bundle.id,
        bundle_sha256=served.bundle.record.sha256,
        task="tagging",
        set_name=served.set_name,
        data=examples.name,
        data_sha256=examples.sha256,
        sizes={"sentences": len(rows), "words": int(stats[:, 1].sum())},
        figures=figures,
        listings=[_by_label(span_counts(pairs) if is_bio else _word_counts(pairs), "spans" if is_bio else "words")],
        stats=stats,
        is_bio=is_bio,
    )


def word_labels(served: ServedBundle, sentences: Sequence[Sequence[str]], unknown: str) -> list[list[str]]:
    """The label of each word, `unknown` of one without a token."""
    model = served.model
    assert model.words is not None, "a tagging bundle has its words"
    encoder = WordEncoder(model.tokenizer, model.words)
    encoded = [encoder.encode(words) for words in sentences]
    found = [[unknown] * len(words) for words in sentences]
    read = [number for number, item in enumerate(encoded) if item.ids]
    for number, logits in zip(read, served.logits([encoded[number].ids for number in read]), strict=True):
        best = logits.argmax(axis=1) if model.crf is None else model.crf.best(logits)
        for first in encoded[number].firsts:
            found[number][encoded[number].words[first]] = model.labels[int(best[first])]
    return found


def span_f1(sums: Floats) -> Floats:
    """2 right / (found + there), of sums [resamples, 3]."""
    found: Floats = 2 * sums[:, 0] / np.maximum(sums[:, 1] + sums[:, 2], 1)
    return found


def _word_counts(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> dict[str, tuple[int, int, int]]:
    """By label: words that are right, have it as their answer, and have it."""
    counts: dict[str, list[int]] = {}
    for expected, found in pairs:
        for tag, answer in zip(expected, found, strict=True):
            counts.setdefault(tag, [0, 0, 0])[2] += 1
            counts.setdefault(answer, [0, 0, 0])[1] += 1
            counts[tag][0] += tag == answer
    return {label: (right, found, there) for label, (right, found, there) in sorted(counts.items())}


def _by_label(counts: dict[str, tuple[int, int, int]], unit: str) -> Listing:
    rows: list[list[str | int | float]] = []
    for label, (right, found, there) in counts.items():
        scores = [right / max(1, found), right / max(1, there), 2 * right / max(1, found + there)]
        rows.append([label, there, found, right, *scores])
    columns = ["label", unit, "answers", "right", "precision", "recall", "f1"]
    return Listing("labels", f"{unit} by label", columns, rows)
