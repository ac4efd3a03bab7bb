"""Tagging: the tagger's one graph (export.tasks.whole_text)."""

from functools import partial

from export.onnx.int8.tagger import QuantizedTagger
from export.tasks.task import TaskExport
from export.tasks.whole_text import WholeTextArchitecture
from export.user_module.wrap.batch import batch_figures, user_batch_model
from models.bundle import Bundle
from models.config import TaggerConfig
from models.network.tagger import Tagger


def tagger(bundle: Bundle, config: TaggerConfig) -> WholeTextArchitecture:
    """A tagger of rnnserve's own on its way to ONNX."""
    return WholeTextArchitecture(bundle, Tagger(config), config.num_ids, "tag", partial(QuantizedTagger, config))


EXPORT = TaskExport("tagging", partial(user_batch_model, "tagging"), batch_figures, tagger)
