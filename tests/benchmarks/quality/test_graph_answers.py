from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.quality.graph_answers import class_logits, translations, with_sets
from models.bundle import Bundle
from models.decoding.options import TranslationOptions

Built = Callable[..., Bundle]
TEXTS = ["to be", "or", "not to be, that is", "the question"] * 40


@pytest.mark.parametrize("beam_size", [1, 4])
@pytest.mark.parametrize("set_name", ["fp32", "int8"])
def test_a_translation_is_that_of_its_source_alone(built_bundle: Built, set_name: str, beam_size: int) -> None:
    bundle, options = built_bundle("gru", task="translation"), TranslationOptions(beam_size=beam_size)
    alone = {text: translations(bundle, set_name, [text], options)[0] for text in set(TEXTS)}
    assert translations(bundle, set_name, TEXTS, options) == [alone[text] for text in TEXTS]


@pytest.mark.parametrize("set_name", ["fp32", "int8"])
def test_logits_are_those_of_each_text_alone(built_bundle: Built, set_name: str) -> None:
    bundle = built_bundle("lstm", task="sentiment")
    alone = {text: class_logits(bundle, set_name, [text])[0] for text in set(TEXTS)}
    np.testing.assert_array_equal(class_logits(bundle, set_name, TEXTS), [alone[text] for text in TEXTS])


def test_sets_that_are_there_are_used_where_they_are(built_bundle: Built) -> None:
    bundle = built_bundle("lstm", task="sentiment")
    with with_sets(bundle, ["int8", "fp32"]) as bundles:
        assert bundles == {"int8": bundle, "fp32": bundle}
