"""Sentiment without order: logistic regression (C = 1) on counts of words or characters, by scikit-learn."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]

from training.data.labels import Labelled

Unit = Literal["word", "char"]
MAX_ITERATIONS = 2000  # lbfgs converges before; scikit-learn warns if it does not


class BagOfWords:
    """A classifier of counts.

    Args:
        examples: the training texts.
        labels: by class.
        unit: "word" (scikit-learn's default: two characters or more, lower case) or "char" (every character).
        longest: counts runs of 1 to so many units.
    """

    def __init__(self, examples: Sequence[Labelled], labels: Sequence[str], *, unit: Unit, longest: int) -> None:
        self._pipeline = make_pipeline(
            CountVectorizer(analyzer=unit, ngram_range=(1, longest)),
            LogisticRegression(C=1.0, max_iter=MAX_ITERATIONS),
        )
        self._pipeline.fit([example.text for example in examples], [labels.index(label) for _, label in examples])

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Unnormalised log probabilities, float64 [texts, C]."""
        found: NDArray[np.float64] = self._pipeline.decision_function(list(texts))
        return (
            found if found.ndim == 2 else np.stack([np.zeros_like(found), found], axis=1)
        )  # one column for two classes
