"""Sentiment: the classifier's one graph (export.tasks.whole_text)."""

from functools import partial

from export.onnx.int8.classifier import QuantizedClassifier
from export.tasks.task import TaskExport
from export.tasks.whole_text import WholeTextArchitecture
from export.user_module.wrap.batch import batch_figures
from export.user_module.wrap.sentiment import user_classifier
from models.bundle import Bundle
from models.config import ClassifierConfig
from models.network.classifier import Classifier


def classifier(bundle: Bundle, config: ClassifierConfig) -> WholeTextArchitecture:
    """A classifier of rnnserve's own on its way to ONNX."""
    quantize = partial(QuantizedClassifier, config)
    return WholeTextArchitecture(bundle, Classifier(config), config.vocab_size, "classify", quantize)


EXPORT = TaskExport("sentiment", user_classifier, batch_figures, classifier)
