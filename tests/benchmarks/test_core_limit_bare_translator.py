from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.core_limit.bare_translator import BareTranslator
from benchmarks.core_limit.sources import sources_of
from benchmarks.quality.graph_answers import translations
from models.bundle import Bundle
from models.decoding.options import TranslationOptions
from runtime.opening import CPU, open_set

TEXTS = ["a", "to be", "or not to be, that is the question", "whether", "'tis nobler in the mind", "to", "suffer", ""]


@pytest.mark.parametrize("beam_size", [1, 4])
@pytest.mark.parametrize("places", [1, 3, 20])
def test_the_bare_loop_finds_what_the_server_finds(
    built_bundle: Callable[..., Bundle], beam_size: int, places: int
) -> None:
    bundle = built_bundle("gru", "translation")
    end_id = bundle.tokenizer.end_id
    assert end_id is not None
    opened, rows = open_set(CPU, bundle, "int8"), places * beam_size
    loop = BareTranslator(opened.sequences(), opened.attention_steps(2 * rows), end_id, max_rows=rows, encode_batch=2)
    found = loop.translate([[*bundle.tokenizer.encode(text), end_id] for text in TEXTS], beam_size)
    expected = translations(bundle, "int8", TEXTS, TranslationOptions(beam_size=beam_size))
    assert [bundle.tokenizer.decode(ids) for ids in found] == expected
    assert len(set(expected)) > 1


def test_without_the_data_sets_sources_are_made_and_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RNNSERVE_DATA", raising=False)
    bundle = Bundle(Path("artifacts/translate-en-zh/1"))
    sources = sources_of(bundle, 500)
    assert len(set(sources.texts)) == 500
    assert "made sentences" in sources.origin
    lengths = [len(bundle.tokenizer.encode(text)) for text in sources.texts]
    assert min(lengths) <= 4
    assert max(lengths) >= 16
