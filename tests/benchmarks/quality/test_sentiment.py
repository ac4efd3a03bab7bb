import numpy as np
import pytest

from benchmarks.quality.sentiment import class_scores
from training.data.labels import Labelled

LABELS = ["negative", "positive"]


def test_scores_count_the_likeliest_class_and_its_nats() -> None:
    logits = np.log([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    examples = [Labelled("a", "negative"), Labelled("b", "positive"), Labelled("c", "positive")]
    found = class_scores(logits, examples, LABELS)
    assert found.counts.tolist() == [[1, 0], [1, 1]]
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.nats == pytest.approx(-np.log([0.9, 0.8, 0.4]).mean())
