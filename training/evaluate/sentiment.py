"""A classifier: accuracy and macro-F1, which classes it takes for which, and the mistakes it is surest of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from training.data.labels import Labelled
from training.evaluate.answers import ServedBundle
from training.evaluate.evaluation import Evaluation, Listing
from training.evaluate.examples import Examples
from training.evaluate.resampling import Comparison, Figure, Floats, figure, mcnemar, paired_bootstrap

UNREAD = "(not read)"  # the answer to a text without a token, which the server refuses


@dataclass(frozen=True, kw_only=True)
class SentimentEvaluation(Evaluation):
    """See Evaluation.

    Attributes:
        labels: by class.
        classes: int64 [texts], each text's.
        answers: int64 [texts], the likeliest; the number of labels for a text that is not read.
    """

    labels: tuple[str, ...]
    classes: NDArray[np.int64]
    answers: NDArray[np.int64]

    def compared(self, other: "SentimentEvaluation") -> list[Comparison]:
        """McNemar's test for accuracy, the paired bootstrap for macro-F1."""
        num = len(self.labels)
        own = {label: number for number, label in enumerate(self.labels)}
        number_of = np.array([*(own.get(label, num) for label in other.labels), num])
        answers = number_of[other.answers]  # of the other bundle, whose classes may stand in another order
        return [
            mcnemar("accuracy", self.answers == self.classes, answers == self.classes),
            paired_bootstrap(
                "macro_f1",
                confusion_stats(self.classes, self.answers, num),
                confusion_stats(self.classes, answers, num),
                lambda sums: macro_f1(sums, num),
            ),
        ]


def evaluate_sentiment(served: ServedBundle, examples: Examples[Labelled], num_shown: int) -> SentimentEvaluation:
    """Measure a classifier.

    Args:
        served: the bundle.
        examples: texts with their labels.
        num_shown: mistakes that are listed.

    Raises:
        DataError: a label is none of the bundle's.
    """
    labels = tuple(served.model.labels)
    _check_labels(examples, labels)
    probabilities = class_probabilities(served, [item.text for item in examples.items])
    classes = np.array([labels.index(item.label) for item in examples.items])
    is_read = ~np.isnan(probabilities[:, 0])
    answers = np.where(is_read, np.nan_to_num(probabilities, nan=-1).argmax(axis=1), len(labels))
    stats = confusion_stats(classes, answers, len(labels))
    counts = stats.sum(axis=0).astype(np.int64).reshape(len(labels), len(labels) + 1)
    nats = -np.log(np.maximum(probabilities[is_read, classes[is_read]], 1e-300))
    return SentimentEvaluation(
        bundle=served.bundle.id,
        bundle_sha256=served.bundle.record.sha256,
        task="sentiment",
        set_name=served.set_name,
        data=examples.name,
        data_sha256=examples.sha256,
        sizes={"texts": len(classes), "not_read": int((~is_read).sum())},
        figures={
            "accuracy": figure(np.stack([answers == classes, np.ones(len(classes))], axis=1).astype(np.float64), ratio),
            "macro_f1": figure(stats, lambda sums: macro_f1(sums, len(labels))),
            "nats_per_text": Figure(float(nats.mean())) if len(nats) else Figure(float("nan")),
        },
        listings=[
            _by_class(labels, counts),
            _confusion(labels, counts),
            _mistakes(examples.items, labels, probabilities, classes, answers, num_shown),
        ],
        labels=labels,
        classes=classes,
        answers=answers,
    )


def class_probabilities(served: ServedBundle, texts: Sequence[str]) -> Floats:
    """Of each text the probability of each class, float64 [texts, C]; NaN for a text without a token."""
    ids = [served.model.tokenizer.encode(text) for text in texts]
    found = np.full((len(texts), len(served.model.labels)), np.nan)
    read = [number for number, tokens in enumerate(ids) if tokens]
    if read:
        z = np.stack(served.logits([ids[number] for number in read])).astype(np.float64)
        weights = np.exp(z - z.max(axis=1, keepdims=True))
        found[read] = weights / weights.sum(axis=1, keepdims=True)
    return found


def ratio(sums: Floats) -> Floats:
    """The first sum divided by the second."""
    return sums[:, 0] / np.maximum(sums[:, 1], 1e-300)


def confusion_stats(classes: NDArray[np.int64], answers: NDArray[np.int64], num_classes: int) -> Floats:
    """Of each text its one confusion count, [texts, C * (C + 1)]; the last answer is none of the classes."""
    stats = np.zeros((len(classes), num_classes, num_classes + 1))
    stats[np.arange(len(classes)), classes, answers] = 1
    return stats.reshape(len(classes), -1)


def macro_f1(sums: Floats, num_classes: int) -> Floats:
    """Mean over the classes of 2 TP / (2 TP + FP + FN), of flat confusion counts [resamples, C * (C + 1)]."""
    counts = sums.reshape(len(sums), num_classes, num_classes + 1)
    hits = np.einsum("rcc->rc", counts[:, :, :-1])
    either = counts.sum(axis=2) + counts[:, :, :-1].sum(axis=1)
    found: Floats = (2 * hits / np.maximum(either, 1)).mean(axis=1)
    return found


def _check_labels(examples: Examples[Labelled], labels: Sequence[str]) -> None:
    strange = sorted({item.label for item in examples.items} - set(labels))
    if strange:
        raise DataError(
            f"{examples.name} has the labels {', '.join(strange[:10])}, which the bundle does not know. Its labels: "
            f"{', '.join(labels)}. Write the file with these."
        )


def _by_class(labels: Sequence[str], counts: NDArray[np.int64]) -> Listing:
    rows: list[list[str | int | float]] = []
    for number, label in enumerate(labels):
        there, found, right = counts[number].sum(), counts[:, number].sum(), counts[number, number]
        precision, recall = (float(right / max(1, size)) for size in (found, there))
        f1 = float(2 * right / max(1, there + found))
        rows.append([label, int(there), int(found), int(right), precision, recall, f1])
    columns = ["label", "texts", "answers", "right", "precision", "recall", "f1"]
    return Listing("classes", "by class", columns, rows)


def _confusion(labels: Sequence[str], counts: NDArray[np.int64]) -> Listing:
    answers = [*labels, *([UNREAD] if counts[:, -1].any() else [])]
    rows: list[list[str | int | float]] = [
        [label, *(int(count) for count in counts[number, : len(answers)])] for number, label in enumerate(labels)
    ]
    return Listing("confusion", "texts of a class (rows) by answer (columns)", ["label", *answers], rows)


def _mistakes(
    items: Sequence[Labelled],
    labels: Sequence[str],
    probabilities: Floats,
    classes: NDArray[np.int64],
    answers: NDArray[np.int64],
    num_shown: int,
) -> Listing:
    wrong = np.flatnonzero((answers != classes) & (answers < len(labels)))
    sure = probabilities[wrong].max(axis=1) if len(wrong) else np.zeros(0)
    rows: list[list[str | int | float]] = [
        [float(probabilities[i].max()), labels[answers[i]], labels[classes[i]], items[i].text]
        for i in wrong[np.argsort(-sure, kind="stable")][:num_shown].tolist()
    ]
    return Listing("mistakes", "most confident mistakes", ["probability", "answer", "label", "text"], rows)
