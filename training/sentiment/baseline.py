"""What a classifier has to beat: linear classifiers of n-grams, which know no order beyond them, by scikit-learn.

Logistic regression on counts of 1- and 2-grams of words, of Chinese 1- to 3-grams of characters; and the same on
presence weighted by naive Bayes log-count ratios (NBSVM, Wang & Manning 2012, section 2.3, with logistic regression in
place of the support vector machine). They are trained on the training part and scored on the validation part. The
strength of the regularization, C, is 1 for counts and for ratios: it is not tuned on the validation part.
"""

import importlib
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models.errors import BackendMissingError, ConfigError, DataError
from training.data.labels import LabelCorpus, Labelled, labels_file
from training.sentiment.mix import load_labelled
from training.sentiment.recipe import DatasetName, DatasetSection

UNITS = {"word": 2, "char": 3}  # what n-grams are made of, and the longest
MAX_ITERATIONS = 2000  # lbfgs converges before; scikit-learn warns if it does not
SMOOTHING = 1.0  # alpha of the log-count ratios
_CHINESE = 0.3  # share of letters that are Chinese characters, from which on a text is in Chinese


@dataclass(frozen=True)
class BaselineScore:
    """One baseline on the validation part, whose texts it takes for these labels."""

    name: str
    accuracy: float
    macro_f1: float
    answers: list[str]

    @property
    def plain(self) -> dict[str, str | float]:
        """For machines: without the answers."""
        return {"name": self.name, "accuracy": self.accuracy, "macro_f1": self.macro_f1}


@dataclass(frozen=True)
class BaselineReport:
    """All of them.

    Attributes:
        data: the file or data set.
        data_sha256: of the bytes that were read.
        unit: what n-grams are made of.
        train_texts: texts that were learnt from.
        validation_texts: texts that are scored.
        scores: of each baseline.
    """

    data: str
    data_sha256: str
    unit: str
    train_texts: int
    validation_texts: int
    scores: list[BaselineScore]


def baselines(data: str, *, unit: str | None = None, validation_share: float = 0.1) -> BaselineReport:
    """Train and score the baselines.

    Args:
        data: a file of lines text<TAB>label, split as training splits it, or a data set's name.
        unit: word or char; None: char where the training texts are in Chinese.
        validation_share: of a file.

    Raises:
        BackendMissingError: scikit-learn is not installed.
        DataError: the data is absent, malformed or not enough.
        ConfigError: there is no such unit.
    """
    if unit is not None and unit not in UNITS:
        raise ConfigError(f"--unit {unit}: allowed are {' and '.join(UNITS)}.")
    for name in ("sklearn", "scipy"):
        try:
            importlib.import_module(name)
        except ImportError:
            raise BackendMissingError(
                "The baselines are scikit-learn's, which is not installed: pip install scikit-learn"
            ) from None
    corpus = _corpus(data, validation_share)
    held_out = {example.text for example in corpus.validation}
    train = [example for example in corpus.train if example.text not in held_out]
    labels = sorted({example.label for example in train})
    validation = list(corpus.validation)
    strange = sorted({example.label for example in validation} - set(labels))
    if len(labels) < 2 or strange:
        raise DataError(
            f"{data}: training texts have the labels {', '.join(labels)}, validation texts also "
            f"{', '.join(strange) or 'none'}; at least two are needed, each in the training part."
        )
    chosen = unit or ("char" if is_chinese([example.text for example in train]) else "word")
    scores = []
    longest = UNITS[chosen]
    for name, weighted, most in (
        (f"logistic regression, {chosen} 1-grams", False, 1),
        (f"logistic regression, {chosen} 1- to {longest}-grams", False, longest),
        (f"NB-weighted logistic regression, {chosen} 1- to {longest}-grams", True, longest),
    ):
        classifier = NgramClassifier(train, labels, unit=chosen, longest=most, is_weighted=weighted)
        answers = classifier.classes([example.text for example in validation])
        truth = np.array([labels.index(example.label) for example in validation])
        score = float((answers == truth).mean()), _macro_f1(truth, answers, len(labels))
        scores.append(BaselineScore(name, *score, [labels[answer] for answer in answers.tolist()]))
    return BaselineReport(data, corpus.sha256, chosen, len(train), len(validation), scores)


class NgramClassifier:
    """A linear classifier of n-grams.

    Args:
        examples: the training texts.
        labels: by class.
        unit: "word" (letters, digits and single signs, in lower case) or "char".
        longest: of the n-grams.
        is_weighted: whether presence is weighted by log-count ratios, one classifier for each class against the rest;
            otherwise counts.
    """

    def __init__(
        self, examples: Sequence[Labelled], labels: Sequence[str], *, unit: str, longest: int, is_weighted: bool
    ) -> None:
        vectorizer = importlib.import_module("sklearn.feature_extraction.text").CountVectorizer
        regression = importlib.import_module("sklearn.linear_model").LogisticRegression
        words = {"token_pattern": r"(?u)\w+|[^\w\s]"} if unit == "word" else {}
        self._vectorizer = vectorizer(analyzer=unit, ngram_range=(1, longest), binary=is_weighted, **words)
        counts = self._vectorizer.fit_transform([example.text for example in examples])
        classes = np.array([labels.index(example.label) for example in examples])
        self._ratios: list[NDArray[np.float64]] = []
        self._models: list[Any] = []
        if not is_weighted:
            self._models = [regression(C=1.0, max_iter=MAX_ITERATIONS).fit(counts, classes)]
            return
        for number in range(1 if len(labels) == 2 else len(labels)):  # of two classes one against the other
            is_one = classes == (1 if len(labels) == 2 else number)
            self._ratios.append(log_count_ratios(counts, is_one))
            weighted = counts.multiply(self._ratios[-1]).tocsr()
            self._models.append(regression(C=1.0, max_iter=MAX_ITERATIONS).fit(weighted, is_one))

    def classes(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The class of each text."""
        counts = self._vectorizer.transform(list(texts))
        if not self._ratios:
            found: NDArray[np.int64] = self._models[0].predict(counts)
            return found
        scores = [
            model.decision_function(counts.multiply(ratios).tocsr())
            for model, ratios in zip(self._models, self._ratios, strict=True)
        ]
        rows = np.stack([-scores[0], *scores]) if len(scores) == 1 else np.stack(scores)
        best: NDArray[np.int64] = rows.argmax(axis=0)
        return best


def log_count_ratios(presence: Any, is_one: NDArray[np.bool_]) -> NDArray[np.float64]:
    """ln((p / |p|) / (q / |q|)) of each n-gram, float64 [1, n-grams].

    Args:
        presence: sparse [texts, n-grams], 1 where a text has an n-gram.
        is_one: bool [texts], of which p counts; q counts the others.
    """
    p = SMOOTHING + np.asarray(presence[is_one].sum(axis=0), np.float64)
    q = SMOOTHING + np.asarray(presence[~is_one].sum(axis=0), np.float64)
    ratios: NDArray[np.float64] = np.log((p / p.sum()) / (q / q.sum()))
    return ratios


def is_chinese(texts: Sequence[str]) -> bool:
    """Whether texts are in Chinese, by the first thousand."""
    letters = [character for text in texts[:1000] for character in text if character.isalpha()]
    num = sum(unicodedata.name(character, "").startswith("CJK") for character in letters)
    return num > _CHINESE * max(1, len(letters))


def show_baselines(console: Console, report: BaselineReport) -> None:
    """Print the table."""
    title = f"{report.data}: {report.train_texts:,} training texts, {report.validation_texts:,} validation texts"
    table = Table("baseline", "accuracy", "macro-F1", title=title, title_justify="left")
    for score in report.scores:
        table.add_row(score.name, f"{score.accuracy:.4f}", f"{score.macro_f1:.4f}")
    console.print(table)


def write_baselines(path: Path, report: BaselineReport) -> None:
    """Write the figures for machines."""
    found = asdict(report) | {"scores": [score.plain for score in report.scores]}
    path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _corpus(data: str, validation_share: float) -> LabelCorpus:
    path, name = Path(data), data.partition(":")[0]
    if path.is_file():
        return labels_file(path, validation_share)
    known = [dataset for dataset in get_args(DatasetName) if dataset != "labels-file"]
    if name not in known:
        raise DataError(f"{data}: no such file and no data set of labelled texts. Data sets: {', '.join(known)}.")
    share = {"validation_share": validation_share} if name == "comparisons" else {}
    return load_labelled(DatasetSection.model_validate({"dataset": name, **share}))


def _macro_f1(truth: NDArray[np.int64], answers: NDArray[np.int64], num_classes: int) -> float:
    hits = [int(((truth == label) & (answers == label)).sum()) for label in range(num_classes)]
    either = [int((truth == label).sum() + (answers == label).sum()) for label in range(num_classes)]
    return float(np.mean([2 * hit / max(1, size) for hit, size in zip(hits, either, strict=True)]))
