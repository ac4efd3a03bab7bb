"""The likeliest sequence of labels and their probabilities, against every sequence that there is."""

from itertools import pairwise, product

import numpy as np
import pytest
from numpy.typing import NDArray

from models.crf import Crf, allowed_transitions

BIO = ("B-x", "I-x", "O", "B-y", "I-y")
Case = tuple[tuple[str, ...], NDArray[np.float32], NDArray[np.float32]]  # labels, transitions, emissions


def drawn(labels: tuple[str, ...], length: int, seed: int) -> Case:
    dice = np.random.default_rng(seed)
    side = len(labels) + 1
    transitions = 2 * dice.standard_normal((side, side), np.float32)
    return labels, transitions, 3 * dice.standard_normal((length, len(labels)), np.float32)


CASES = [drawn(labels, length, seed) for labels in (BIO, ("N", "V")) for length in (1, 2, 3, 5) for seed in range(5)]


def sequences(case: Case) -> dict[tuple[int, ...], float]:
    """The score of each sequence of classes that may be."""
    labels, transitions, emissions = case[0], case[1].astype(np.float64), case[2].astype(np.float64)
    boundary = len(labels)
    found = {}
    for classes in product(range(len(labels)), repeat=len(emissions)):
        names = [labels[c] for c in classes]
        is_broken = any(name[:2] == "I-" and before[2:] != name[2:] for before, name in pairwise(["O", *names]))
        if not is_broken:
            steps = pairwise([boundary, *classes, boundary])
            found[classes] = float(sum(transitions[a, b] for a, b in steps)) + float(
                sum(row[c] for row, c in zip(emissions, classes, strict=True))
            )
    return found


def test_i_follows_its_own_b_or_i_and_other_labels_follow_any() -> None:
    allowed = allowed_transitions(BIO)
    assert allowed[:, 1].tolist() == [True, True, False, False, False, False]  # I-x
    assert allowed[:, 4].tolist() == [False, False, False, True, True, False]  # I-y
    assert allowed[:, [0, 2, 3, 5]].all()
    assert allowed_transitions(["NOUN", "VERB"]).all()


@pytest.mark.parametrize("case", CASES)
def test_the_best_sequence_is_the_best_of_all(case: Case) -> None:
    found = sequences(case)
    assert tuple(Crf(case[1], case[0]).best(case[2]).tolist()) == max(found, key=found.__getitem__)


@pytest.mark.parametrize("case", CASES)
def test_a_label_is_as_likely_as_all_sequences_with_it(case: Case) -> None:
    labels, transitions, emissions = case
    weights = {classes: np.exp(score) for classes, score in sequences(case).items()}
    expected = np.zeros((len(emissions), len(labels)))
    for classes, weight in weights.items():
        expected[np.arange(len(classes)), classes] += weight / sum(weights.values())
    crf = Crf(transitions, labels)
    np.testing.assert_allclose(crf.marginals(emissions), expected, rtol=1e-9, atol=1e-12)
    best, scores = crf.decode(emissions)
    np.testing.assert_allclose(scores, expected[np.arange(len(best)), best], rtol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_no_sequence_breaks_the_order_and_no_probability_is_lost(scale: float) -> None:
    allowed = allowed_transitions(BIO)
    dice = np.random.default_rng(5)
    for _ in range(50):
        transitions = np.where(allowed, 0, 50).astype(np.float32)  # what is not allowed would score best
        emissions = (scale * dice.standard_normal((40, 5))).astype(np.float32)
        crf = Crf(transitions, BIO)
        classes, scores = crf.decode(emissions)
        assert all(allowed[a, b] for a, b in pairwise([5, *classes.tolist(), 5]))
        assert np.isfinite(scores).all()
        np.testing.assert_allclose(crf.marginals(emissions).sum(axis=1), 1)
