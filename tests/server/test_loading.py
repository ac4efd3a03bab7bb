"""Loading from a store, with real bundles and graph sets, and answers of the real runtime."""

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import Bundle
from models.cells import CellKind
from models.digest import as_json, sealed
from models.errors import BundleCorruptError, BundleNotFoundError, ParityError, RnnserveError, RunnerError
from runtime.onnxruntime.build import open_graph_set
from runtime.onnxruntime.run import OnnxStepRunner
from server.loading import load_models
from server.settings import Settings
from server.tasks import BY_NAME
from tests.server.running import running

pytestmark = pytest.mark.usefixtures("unmeasured")
BuiltBundle = Callable[[CellKind], Bundle]


@pytest.fixture
def store(built_bundle: BuiltBundle, tmp_path: Path) -> Path:
    """A store of one model with versions 1 and 2, to be damaged."""
    for version in ("1", "2"):
        shutil.copytree(built_bundle("gru").path, tmp_path / "model" / version)
    return tmp_path


def loaded(store: Path, **settings: Any) -> list[tuple[str, str]]:
    return [(model.id, model.precision) for model in load_models(Settings(store=store, **settings), BY_NAME)]


def damage_golden(store: Path, graph_set: str) -> None:
    path = store / "model" / "2" / "onnx" / graph_set / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["golden"]["logits"] = [-x for x in manifest["golden"]["logits"]]
    path.write_bytes(as_json(sealed(manifest)))


def test_the_highest_version_is_loaded_with_int8_unless_told_otherwise(store: Path) -> None:
    assert loaded(store) == [("model/2", "int8")]
    assert loaded(store, set="fp32") == [("model/2", "fp32")]
    assert loaded(store, models=("model/1", "model")) == [("model/1", "int8"), ("model/2", "int8")]
    assert loaded(store, models=("model/2", "model", "model/2")) == [("model/2", "int8")]  # once
    assert loaded(store, models=("model/1",)) == [("model/1", "int8")]
    shutil.rmtree(store / "model/2/onnx/int8")
    assert loaded(store) == [("model/2", "fp32")]


def test_an_int8_set_that_computes_otherwise_here_gives_way_to_fp32(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage_golden(store, "int8")
    assert loaded(store) == [("model/2", "fp32")]
    assert "golden" in capsys.readouterr().out
    with pytest.raises(RunnerError, match="golden"):
        loaded(store, models=("model",), set="int8")
    damage_golden(store, "fp32")
    with pytest.raises(RunnerError, match="golden"):
        loaded(store, models=("model",))


def test_a_damaged_model_is_refused_with_the_sentence(store: Path) -> None:
    (store / "model/2/weights.safetensors").write_bytes(b"x")
    with pytest.raises(BundleCorruptError, match=r"weights.safetensors was changed"):
        loaded(store, models=("model",))
    with pytest.raises(BundleNotFoundError, match="No model can be served"):
        loaded(store)
    shutil.copytree(store / "model/1", store / "other/1")
    assert loaded(store) == [("other/1", "int8")]  # the others are served


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwritten_in_place(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))


@pytest.mark.parametrize("change", [cut, overwritten_in_place])
def test_a_server_whose_weights_are_changed_goes_on_and_the_next_one_refuses_the_file_by_name(
    store: Path, change: Callable[[Path], None]
) -> None:
    asked = {"prompt": "to be", "max_tokens": 20, "seed": 3}
    with running(*load_models(Settings(store=store, set="int8"), BY_NAME)) as server:
        requests = [asked, asked | {"top_k": 5}, asked | {"frequency_penalty": 0.5}]  # by several graphs
        expected = [server.generate(**fields)["choices"] for fields in requests]
        for path in (store / "model/2/onnx/int8").iterdir():
            change(path)
        assert [server.generate(**fields)["choices"] for fields in requests] == expected
    with pytest.raises(BundleCorruptError, match=r"model/2/onnx/int8/"):
        loaded(store, models=("model",), set="int8")


@pytest.mark.parametrize("error", [OSError("disk"), RecursionError("deep"), ValueError("odd"), ParityError("parity")])
def test_one_odd_folder_does_not_stop_the_others(
    store: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd_bundle(path: Path) -> Bundle:
        if path.parent.name == "odd":
            raise error
        return Bundle(path)

    (store / "odd/1").mkdir(parents=True)
    monkeypatch.setattr("server.loading.Bundle", odd_bundle)
    assert loaded(store) == [("model/2", "int8")]
    with pytest.raises(RnnserveError, match=str(error)):
        loaded(store, models=("odd",))


def test_what_is_not_there_is_said_with_what_is(store: Path) -> None:
    for name, words in (("modle", "Models: model"), ("model/7", "Versions: 1, 2")):
        with pytest.raises(BundleNotFoundError, match=words):
            loaded(store, models=(name,))
    shutil.rmtree(store / "model/2/onnx")
    with pytest.raises(BundleNotFoundError, match="python -m export build"):
        loaded(store, models=("model",))


@pytest.mark.parametrize("graph_set", ["fp32", "int8"])
def test_a_real_model_answers_over_http_as_its_graph_does_greedily(store: Path, graph_set: Any) -> None:
    bundle = Bundle(store / "model/2")
    steps = OnnxStepRunner(open_graph_set(bundle.graph_set(graph_set)), 2, bundle.record.state_width)
    text = bundle.tokenizer.decode(range(2, min(40, bundle.tokenizer.vocab_size)))
    ids = bundle.tokenizer.encode(text)
    steps.put(0, np.zeros(bundle.record.state_width, np.float32))
    chosen: list[int] = []
    for i in range(len(ids) + 19):
        token = ids[i] if i < len(ids) else chosen[-1]
        logits = steps.step(np.array([token]), np.zeros(1, np.int64))
        if i >= len(ids) - 1:
            chosen.append(int(logits[0].argmax()))
    with running(*load_models(Settings(store=store, set=graph_set), BY_NAME)) as server:
        answers = [server.generate(prompt=text, temperature=0, max_tokens=20, n=n)["choices"] for n in (1, 3)]
        listed = server.client.get("/v1/models").json()["data"][0]
    end = bundle.tokenizer.end_id
    expected = bundle.tokenizer.decode(chosen[: chosen.index(end)] if end in chosen else chosen)
    assert {choice["text"] for choices in answers for choice in choices} == {expected}
    assert (listed["precision"], listed["version"], listed["backend"]) == (graph_set, 2, "onnxruntime-cpu")


@pytest.mark.parametrize("graph_set", ["fp32", "int8"])
def test_a_real_models_answers_do_not_depend_on_the_neighbours(store: Path, graph_set: Any) -> None:
    rng = np.random.default_rng(0)
    requests = [
        {
            "prompt": "".join(rng.choice(list("to be or not, "), rng.integers(1, 140))),
            "seed": seed,
            "max_tokens": int(rng.integers(1, 50)),
            "n": 1 + seed % 2,
            "top_k": [0, 0, 7][seed % 3],
        }
        for seed in range(48)
    ]
    with running(*load_models(Settings(store=store, set=graph_set), BY_NAME)) as server:
        with ThreadPoolExecutor(24) as pool:
            together = list(pool.map(lambda fields: server.generate(**fields)["choices"], requests))
        assert [server.generate(**fields)["choices"] for fields in requests[::3]] == together[::3]
