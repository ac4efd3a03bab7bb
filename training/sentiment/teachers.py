"""Labels that trained classifiers give: distillation (Hinton et al. 2015) and self-training (Scudder 1965).

A teacher reads a text as it reads one that it serves, whole, by its own tokenizer; several teachers give the mean of
their probabilities. So a small classifier learns from larger ones, one from several, and one from texts without labels
of their own, such as the sentences of labelled reviews.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import from_numpy, tensor

from models.bundle import Bundle
from models.config import ClassifierConfig
from models.errors import ConfigError
from models.network.classifier import Classifier
from training.buckets import in_order, padded
from training.sentiment.batches import EncodedText

_TEXTS = 64  # read at once; the probabilities do not depend on it


def probabilities(bundles: Sequence[Bundle], texts: Sequence[str], labels: Sequence[str]) -> NDArray[np.float32]:
    """What teachers take each text for: float32 [N, C], the mean of their softmax; NaN where one has no token of it.

    Args:
        bundles: at least one.
        texts: N.
        labels: the C classes, in order.

    Raises:
        ConfigError: a bundle is of another task or has other classes.
    """
    total = np.zeros((len(texts), len(labels)), np.float32)
    for bundle in bundles:
        _check(bundle, labels)
        total += _of_one(bundle, texts)
    return total / np.float32(len(bundles))


def taught(text: EncodedText, row: NDArray[np.float32]) -> EncodedText:
    """A text with its teachers' probabilities [C] and the likeliest class; as it is where one could not read it."""
    if np.isnan(row).any():
        return text
    return text._replace(label=int(row.argmax()), probabilities=tuple(row.tolist()))


def _check(bundle: Bundle, labels: Sequence[str]) -> None:
    record = bundle.record
    if record.task != "sentiment" or not isinstance(bundle.config, ClassifierConfig):
        raise ConfigError(
            f"data.datasets: labelled_by: {bundle.id} is not a classifier of a recipe; name one that this project has "
            "trained."
        )
    if list(record.labels or ()) != list(labels):
        raise ConfigError(
            f"data.datasets: labelled_by: {bundle.id} has the classes {', '.join(record.labels or ())} and this run "
            f"{', '.join(labels)}; they have to be the same."
        )


def _of_one(bundle: Bundle, texts: Sequence[str]) -> NDArray[np.float32]:
    assert isinstance(bundle.config, ClassifierConfig)
    model = Classifier(bundle.config).eval()
    model.load_state_dict({name: from_numpy(array) for name, array in bundle.weights().items()})
    ids = [bundle.tokenizer.encode(text) for text in texts]
    found = np.full((len(texts), bundle.config.num_classes), np.nan, np.float32)
    readable = np.array([i for i, each in enumerate(ids) if each], np.int64)
    with torch.no_grad():
        for indices in in_order([(len(ids[i]),) for i in readable.tolist()], _TEXTS):
            rows = readable[indices]
            read = [ids[i] for i in rows.tolist()]
            logits = model(padded(read), tensor([len(each) for each in read]))
            found[rows] = logits.softmax(dim=1).numpy()
    return found
