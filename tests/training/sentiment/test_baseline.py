"""The linear baselines against scikit-learn called by hand, and the command."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from models.errors import BackendMissingError, ConfigError, DataError
from training.__main__ import main
from training.data.labels import Labelled, labels_file
from training.sentiment.baseline import NgramClassifier, baselines, is_chinese, log_count_ratios

pytest.importorskip("sklearn")
GOOD, BAD = ["lovely", "fine", "warm"], ["dull", "cold", "grim"]


def reviews(folder: Path, *, words: bool = True) -> Path:
    """Texts whose label is that of two words; a tenth have the other label."""
    dice, rows = np.random.default_rng(0), set()
    for number in range(300):
        own, label = (GOOD, "positive") if dice.random() < 0.5 else (BAD, "negative")
        text = f"the film {number % 97} is {dice.choice(own)} and {dice.choice(own)}"
        rows.add((text if words else "".join("好坏片子的是"[ord(c) % 6] for c in text), label))
    lines = dict(sorted(rows))
    path = folder / "reviews.tsv"
    path.write_text("".join(f"{text}\t{label}\n" for text, label in lines.items()), encoding="utf-8")
    return path


def test_logistic_regression_is_scikit_learns(tmp_path: Path) -> None:
    from sklearn.feature_extraction.text import CountVectorizer  # type: ignore[import-untyped]
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
    from sklearn.metrics import f1_score  # type: ignore[import-untyped]

    path = reviews(tmp_path)
    report = baselines(str(path))
    corpus = labels_file(path, 0.1)
    vectorizer = CountVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\w+|[^\w\s]")
    train = vectorizer.fit_transform([text for text, _ in corpus.train])
    model = LogisticRegression(max_iter=2000).fit(train, [label for _, label in corpus.train])
    answers = model.predict(vectorizer.transform([text for text, _ in corpus.validation]))
    truth = [label for _, label in corpus.validation]
    second = report.scores[1]
    assert second.name == "logistic regression, word 1- to 2-grams"
    assert second.accuracy == np.mean([one == other for one, other in zip(answers, truth, strict=True)])
    assert second.macro_f1 == pytest.approx(f1_score(truth, answers, average="macro"))
    assert (report.unit, report.train_texts) == ("word", len(corpus.train))
    assert report.validation_texts == len(corpus.validation)
    assert report.scores[2].accuracy > 0.9


def test_log_count_ratios_are_those_of_the_paper() -> None:
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

    presence = csr_matrix(np.array([[1, 0, 1], [1, 1, 0], [0, 1, 0]]))
    found = log_count_ratios(presence, np.array([True, True, False]))[0]
    p, q = np.array([3, 2, 2]) / 7, np.array([1, 2, 1]) / 4
    assert found.tolist() == pytest.approx([math.log(one / other) for one, other in zip(p, q, strict=True)])


def test_several_classes_are_each_one_against_the_rest() -> None:
    examples = [Labelled(f"{word} thing {number}", word) for number in range(20) for word in ("red", "green", "blue")]
    classifier = NgramClassifier(examples, ["blue", "green", "red"], unit="word", longest=2, is_weighted=True)
    assert classifier.classes(["a green thing", "red", "blue thing"]).tolist() == [1, 2, 0]


def test_chinese_is_read_by_characters(tmp_path: Path) -> None:
    assert is_chinese(["这部电影很好", "不好 at all"])
    assert not is_chinese(["a film called 好"])
    assert not is_chinese([])
    assert baselines(str(reviews(tmp_path, words=False))).unit == "char"


def test_the_command_prints_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "b.json"
    monkeypatch.setattr(sys, "argv", ["training", "baseline", str(reviews(tmp_path)), "--json", str(out)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "NB-weighted logistic regression" in capsys.readouterr().out
    scores = json.loads(out.read_text(encoding="utf-8"))["scores"]
    assert [score["name"].split(",")[0] for score in scores] == ["logistic regression"] * 2 + [
        "NB-weighted logistic regression"
    ]


def test_refusals_are_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"--unit letter: allowed are word and char"):
        baselines("sst2", unit="letter")
    with pytest.raises(DataError, match=r"nothing: no such file and no data set of labelled texts. Data sets: sst2"):
        baselines("nothing")

    def without(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", without)
    with pytest.raises(BackendMissingError, match=r"not installed: pip install scikit-learn"):
        baselines("comparisons")
