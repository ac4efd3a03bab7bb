"""Translators and classifiers from a store, with real graph sets, and answers of the real runtime."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import Bundle, Languages
from models.decoding.beam_search import BeamSearch
from models.decoding.options import TranslationOptions
from models.digest import as_json, sealed
from models.errors import RunnerError
from runtime.onnxruntime.build import open_graph_set
from runtime.onnxruntime.run import OnnxSequenceRunner
from runtime.opening import open_set
from runtime.padding import padded
from server.loading import load_models
from server.settings import Settings
from server.tasks import BY_NAME
from tests.server.running import running

SETS = ["fp32", "int8"]
pytestmark = pytest.mark.usefixtures("unmeasured")


@pytest.fixture
def store(built_bundle: Callable[..., Bundle], tmp_path: Path) -> Path:
    """A store with a translator and a classifier, to be damaged."""
    for name in ("translation", "sentiment"):
        shutil.copytree(built_bundle("gru", name).path, tmp_path / name / "1")
    return tmp_path


def damage_golden(store: Path, model: str, graph_set: str) -> None:
    path = store / model / "1" / "onnx" / graph_set / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["golden"]["logits"] = [-x for x in manifest["golden"]["logits"]]
    path.write_bytes(as_json(sealed(manifest)))


def test_models_of_all_tasks_are_loaded_with_what_belongs_to_them(store: Path) -> None:
    classifier, translator = load_models(Settings(store=store), BY_NAME)
    assert (classifier.id, classifier.precision, len(classifier.labels)) == ("sentiment/1", "int8", 2)
    assert (translator.id, translator.languages) == ("translation/1", Languages(source="en", target="zh"))


@pytest.mark.parametrize("model", ["translation", "sentiment"])
def test_an_int8_set_that_computes_otherwise_here_gives_way_to_fp32(store: Path, model: str) -> None:
    damage_golden(store, model, "int8")
    assert [item.precision for item in load_models(Settings(store=store, models=(model,)), BY_NAME)] == ["fp32"]
    damage_golden(store, model, "fp32")
    with pytest.raises(RunnerError, match="golden"):
        load_models(Settings(store=store, models=(model,)), BY_NAME)


@pytest.mark.parametrize("graph_set", SETS)
def test_translations_over_http_are_those_of_the_graphs_with_nothing_around_them(store: Path, graph_set: Any) -> None:
    bundle = Bundle(store / "translation" / "1")
    opened = open_set("onnxruntime-cpu", bundle, graph_set)
    steps, sequences = opened.attention_steps(32), opened.sequences()
    end = bundle.tokenizer.end_id
    assert end is not None
    with running(*load_models(Settings(store=store, set=graph_set, models=("translation",)), BY_NAME)) as server:
        for fields in ({"beam_size": 1}, {}, {"beam_size": 9, "coverage_penalty": 0.2, "alternatives": 8}):
            options = TranslationOptions(max_tokens=20, replace_unknown=False, **fields)
            tokens = [*bundle.tokenizer.encode("to be or not to be"), end]
            ids, lengths = padded([tokens])
            encoded = sequences.run("encode", {"ids": ids, "lengths": lengths})
            steps.put(0, encoded["state"][0], {name: encoded[name][0, : len(tokens)] for name in ("memory", "keys")})
            search = BeamSearch(options, end_id=end, source_length=len(tokens))
            parents = np.zeros(1, np.int64)
            while not search.is_over:
                logits = steps.step(search.tokens, parents)
                parents = search.advance(logits, steps.attention)
            answer = server.translate(text="to be or not to be", max_tokens=20, replace_unknown=False, **fields)
            (found,) = answer["translations"]
            expected = [(bundle.tokenizer.decode(it.ids), it.score) for it in search.results()]
            entries = [found, *found.get("alternatives", [])]
            assert [it["text"] for it in entries] == [text for text, _ in expected]
            tolerance = 1e-6  # log-probabilities are made in the graph: other last digits than numpy's
            assert [it["score"] for it in entries] == pytest.approx(
                [score for _, score in expected], rel=tolerance, abs=0
            )


@pytest.mark.parametrize("graph_set", SETS)
def test_sentiment_over_http_is_that_of_the_graph_with_nothing_around_it(store: Path, graph_set: Any) -> None:
    bundle = Bundle(store / "sentiment" / "1")
    runner = OnnxSequenceRunner(open_graph_set(bundle.graph_set(graph_set), graphs=["classify"]))
    with running(*load_models(Settings(store=store, set=graph_set, models=("sentiment",)), BY_NAME)) as server:
        for text in ("to be", "or not to be, " * 20):
            ids, lengths = padded([bundle.tokenizer.encode(text)])
            logits = runner.run("classify", {"ids": ids, "lengths": lengths})["logits"][0].astype(np.float64)
            weights = np.exp(logits - logits.max())
            (found,) = server.classify(text=text, all_scores=True)["results"]
            assert list(found["scores"]) == bundle.record.labels
            assert list(found["scores"].values()) == (weights / weights.sum()).tolist()


@pytest.mark.parametrize("graph_set", SETS)
def test_real_models_answers_do_not_depend_on_the_neighbours(store: Path, graph_set: Any) -> None:
    rng = np.random.default_rng(0)

    def some_text() -> str:
        return "".join(rng.choice(list("to be or not, "), rng.integers(1, 60)))

    requests: list[tuple[str, dict[str, Any]]] = []
    for i in range(64):
        texts = [some_text() for _ in range(rng.choice([1, 3]))]
        if i % 2:
            requests.append(("/v1/sentiment", {"text": texts, "all_scores": True}))
        else:
            beam_size = int(rng.choice([1, 1, 4, 16]))
            fields = {"beam_size": beam_size, "alternatives": beam_size - 1, "alignment": True, "max_tokens": 20}
            requests.append(("/v1/translate", {"text": texts, **fields}))
    with running(*load_models(Settings(store=store, set=graph_set), BY_NAME)) as server:
        with ThreadPoolExecutor(24) as pool:
            together = list(pool.map(lambda item: server.post(item[0], **item[1]), requests))
        for (path, fields), answer in zip(requests, together, strict=True):
            assert server.post(path, **fields) | {"id": ""} == answer | {"id": ""}
