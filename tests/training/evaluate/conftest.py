"""A store of tiny bundles of every task, with their fp32 graphs."""

from pathlib import Path

import pytest

from export.build import build_sets
from tests.tiny_models import (
    tiny_bundle,
    tiny_classifier_bundle,
    tiny_forecaster_bundle,
    tiny_tagger_bundle,
    tiny_translator_bundle,
)


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("evaluated")
    for bundle in (
        tiny_bundle(store, "lstm", "writer", is_wide=True),
        tiny_classifier_bundle(store, "gru", "judge"),
        tiny_tagger_bundle(store, "gru", "tagger", crf=True),
        tiny_forecaster_bundle(store),
        tiny_translator_bundle(store, "gru", "translator"),
    ):
        build_sets(bundle, ["fp32"])
    return store
