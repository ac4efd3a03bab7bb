"""Intervals and tests against sacrebleu's own, scipy's and sums by hand."""

import math

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest, Result
from scipy.stats import binomtest  # type: ignore[import-untyped]

from training.evaluate.resampling import binomial_two_sided, figure, mcnemar, paired_bootstrap
from training.evaluate.sentiment import confusion_stats, macro_f1, ratio
from training.evaluate.translation import metrics, scored, sufficient

WORDS = ["the", "a", "small", "big", "house", "dog", "is", "was", "here", "there", "in", "on", "of", "red", "green"]


def sentences(seed: int, num: int = 60) -> list[str]:
    dice = np.random.default_rng(seed)
    return [" ".join(dice.choice(WORDS, size=dice.integers(4, 12))) for _ in range(num)]


def blurred(texts: list[str], seed: int, share: float) -> list[str]:
    dice = np.random.default_rng(seed)
    return [
        " ".join(word if dice.random() > share else str(dice.choice(WORDS)) for word in text.split()) for text in texts
    ]


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_score_and_interval_are_sacrebleus(name: str) -> None:
    references = sentences(1)
    outputs = blurred(references, 2, 0.3)
    metric = metrics("en")[name]
    found = figure(sufficient(metric, outputs, [[text] for text in references]), lambda sums: scored(metric, sums))
    theirs = {"bleu": BLEU(), "chrf": CHRF()}[name].corpus_score(outputs, [references], n_bootstrap=1000)
    assert found.value == pytest.approx(theirs.score, abs=1e-9)
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(theirs._ci, abs=1e-3)


def test_paired_bootstrap_is_sacrebleus_of_both_sides() -> None:
    references = sentences(1)
    one, other = blurred(references, 2, 0.3), blurred(references, 3, 0.4)
    theirs = PairedTest([("other", other), ("one", one)], {"BLEU": BLEU()}, [references], "bs", 1000)()[1]["BLEU"]
    assert isinstance(theirs[0], Result)
    assert isinstance(theirs[1], Result)
    metric = metrics("en")["bleu"]
    stats = [sufficient(metric, outputs, [[text] for text in references]) for outputs in (one, other)]
    found = paired_bootstrap("bleu", stats[0], stats[1], lambda sums: scored(metric, sums))
    assert found.this == pytest.approx(theirs[1].score)
    assert found.other == pytest.approx(theirs[0].score)
    assert theirs[1].p_value is not None
    assert theirs[1].p_value <= found.p <= 2 * theirs[1].p_value + 0.002
    same = paired_bootstrap("bleu", stats[0], stats[0], lambda sums: scored(metric, sums))
    assert (same.p, same.low, same.high) == (1.0, 0.0, 0.0)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.this - found.other < found.high


def test_several_references_are_counted_as_sacrebleu_counts_them() -> None:
    outputs = ["the small house is here", "a dog was there", "big red dog in the house"]
    references = [["the house is small", "a small house is here"], ["a dog was there"], ["a red dog is in the house"]]
    columns = [[own[0] for own in references], [own[1] if len(own) > 1 else None for own in references]]
    for metric in metrics("en").values():
        found = scored(metric, sufficient(metric, outputs, references).sum(axis=0)[None])[0]
        assert found == pytest.approx(metric.corpus_score(outputs, columns).score)  # type: ignore[arg-type]


@pytest.mark.parametrize(("ours", "theirs"), [(0, 0), (1, 0), (3, 9), (9, 3), (7, 7), (300, 251), (900, 1100)])
def test_mcnemar_is_the_binomial_test(ours: int, theirs: int) -> None:
    this = np.array([True] * ours + [False] * theirs + [True] * 5 + [False] * 2)
    other = np.array([False] * ours + [True] * theirs + [True] * 5 + [False] * 2)
    found = mcnemar("accuracy", this, other)
    assert found.p == binomial_two_sided(ours, theirs)
    assert found.p == pytest.approx(binomtest(ours, ours + theirs).pvalue if ours + theirs else 1.0)
    assert found.this == (ours + 5) / len(this)
    assert f"{ours} right here alone, {theirs} there alone" in found.test
    if ours + theirs == 12:
        by_hand = 2 * sum(math.comb(12, count) for count in range(4)) / 2**12
        assert found.p == pytest.approx(by_hand)


def test_the_interval_of_a_share_is_near_its_standard_error_and_always_the_same() -> None:
    stats = np.stack([np.arange(400) % 5 > 0, np.ones(400)], axis=1).astype(float)
    found = figure(stats, ratio)
    assert found == figure(stats, ratio)
    assert found.value == 0.8
    assert found.low == pytest.approx(0.8 - 1.96 * 0.02, abs=0.006)
    assert found.high == pytest.approx(0.8 + 1.96 * 0.02, abs=0.006)


def test_macro_f1_is_scikit_learns() -> None:
    metric = pytest.importorskip("sklearn.metrics").f1_score
    dice = np.random.default_rng(3)
    classes, answers = dice.integers(0, 3, 200), dice.integers(0, 3, 200)
    stats = confusion_stats(classes, answers, 3)
    assert macro_f1(stats.sum(axis=0)[None], 3)[0] == pytest.approx(metric(classes, answers, average="macro"))
