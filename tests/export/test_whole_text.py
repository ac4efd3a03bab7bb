"""The proof of models that read a whole text in one call sees what a batch or padding changes."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from export.tasks.whole_text import whole_text_figures
from export.trace.reference import WholeTextReference, with_weights
from models.bundle import Bundle
from models.config import ClassifierConfig, TaggerConfig
from models.crf import Crf
from models.network.classifier import Classifier
from models.network.tagger import Tagger
from runtime.opening import CPU, open_set
from runtime.runner import Array

Change = Callable[[Mapping[str, Array]], Array]


def of_batch(inputs: Mapping[str, Array]) -> Array:
    return np.full(len(inputs["ids"]), len(inputs["ids"]) > 1)


def of_padding(inputs: Mapping[str, Array]) -> Array:
    """Of the texts whose padding holds other than zeros."""
    is_padding = np.arange(inputs["ids"].shape[1]) >= inputs["lengths"][:, None]
    found: Array = np.any(inputs["ids"] * is_padding, axis=1)
    return found


class Changed:
    """A runner that adds a little to the logits of some texts."""

    def __init__(self, bundle: Bundle, change: Change) -> None:
        self._runner = open_set(CPU, bundle, "fp32").sequences()
        self._change = change

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        logits = self._runner.run(graph, inputs)["logits"].copy()
        logits[self._change(inputs)] += np.float32(1e-6)
        return {"logits": logits}


@pytest.mark.parametrize("task", ["sentiment", "tagging"])
@pytest.mark.parametrize("change", [None, of_batch, of_padding])
def test_a_last_bit_that_the_batch_or_padding_changes_is_counted(
    built_bundle: Callable[..., Bundle], task: str, change: Change | None
) -> None:
    bundle = built_bundle("gru", task)
    config = bundle.config
    assert isinstance(config, ClassifierConfig | TaggerConfig)
    is_tagger = isinstance(config, TaggerConfig)
    model = with_weights(Tagger(config) if isinstance(config, TaggerConfig) else Classifier(config), bundle)
    num_ids = bundle.sizes["V"]
    runner = Changed(bundle, change or (lambda inputs: np.zeros(len(inputs["ids"]), np.bool_)))
    reference = WholeTextReference(model, num_ids)
    figures = whole_text_figures(runner, "tag" if is_tagger else "classify", num_ids, reference)
    assert (figures["rows_changed_by_batch"] > 0) == (change is of_batch)
    assert (figures["rows_changed_by_padding"] > 0) == (change is of_padding)


def test_of_a_crf_the_labels_that_it_finds_are_compared(built_bundle: Callable[..., Bundle]) -> None:
    bundle = built_bundle("gru", "tagging", crf=True)
    config = bundle.config
    assert isinstance(config, TaggerConfig)
    reference = WholeTextReference(with_weights(Tagger(config), bundle), bundle.sizes["V"])
    runner = open_set(CPU, bundle, "int8").sequences()

    def figures(crf: Crf | None) -> dict[str, float]:
        return whole_text_figures(runner, "tag", bundle.sizes["V"], reference, crf=crf)

    # Only O can be found where it costs nothing and all else very much.
    transitions = np.full((4, 4), -1e3, np.float32)
    transitions[2:, 2:] = 0
    always_outside = Crf(transitions, bundle.record.labels or [])
    assert figures(always_outside)["argmax_agreement"] == 1
    assert figures(always_outside)["mean_probability_difference"] < 1e-9
    assert figures(None)["mean_probability_difference"] > 1e-6
    assert figures(bundle.crf)["mean_probability_difference"] not in (0, figures(None)["mean_probability_difference"])
