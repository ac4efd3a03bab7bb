"""The graph sets that a model's groups run from: measured once, kept, shown, and the same for every request."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import Bundle
from models.digest import as_json, sealed
from runtime import measuring
from runtime.choice import Choice, read_choices, write_choices
from runtime.device import VARIABLE, cache_folder
from runtime.opening import CPU, open_set
from runtime.padding import padded
from runtime.runner import Array
from server.endpoint import LoadedModel
from server.loading import load_models
from server.settings import Settings
from server.tasks import BY_NAME
from tests.server.running import running

MIXED = [Choice(CPU, ("fp32", "int8")), Choice(CPU, ("int8", "fp32"))]


@pytest.fixture
def bundle(built_bundle: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A translator, whose encoder may run from another set than its decoder, and an empty cache."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    shutil.copytree(built_bundle("lstm", "translation").path, tmp_path / "store" / "translator" / "1")
    return Bundle(tmp_path / "store" / "translator" / "1")


def loaded(bundle: Bundle, **settings: Any) -> LoadedModel:
    (model,) = load_models(Settings(store=bundle.path.parent.parent, **settings), BY_NAME)
    return model


def record(bundle: Bundle, choice: Choice) -> None:
    write_choices(bundle, [choice], {CPU: ["int8", "fp32"]}, [], {})


def test_a_model_is_measured_at_its_first_load_and_loaded_the_same_way_after_that(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = loaded(bundle)
    assert "graph sets measured" in capsys.readouterr().out
    (choice,) = read_choices(bundle)
    assert first.graph_sets == choice.set_of_graphs(bundle.task)
    monkeypatch.setattr(measuring, "measure", lambda *_, **__: pytest.fail("measured again"))
    for _ in range(2):
        assert loaded(bundle).graph_sets == first.graph_sets
    for other in MIXED:
        record(bundle, other)
        assert loaded(bundle).precision == other.precision


def test_a_damaged_record_is_replaced_and_a_set_that_is_asked_for_is_not_measured(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cache_folder(bundle.record.sha256) / "bench.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{")
    loaded(bundle)
    assert len(read_choices(bundle)) == 1
    record(bundle, MIXED[0])
    monkeypatch.setattr(measuring, "measure", lambda *_, **__: pytest.fail("measured"))
    for name in ("int8", "fp32"):
        assert loaded(bundle, set=name).precision == name
    path.unlink()
    assert loaded(bundle, set="int8").graph_sets == dict.fromkeys(("encode", "step", "decode", "decode_beam"), "int8")
    assert not path.exists()


def test_where_a_choice_cannot_be_kept_none_is_made(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    assert loaded(bundle).precision == "int8"
    assert "RNNSERVE_CACHE" in capsys.readouterr().out


@pytest.mark.parametrize("choice", MIXED, ids=lambda choice: choice.precision)
def test_each_group_runs_from_its_set_to_the_bit(bundle: Bundle, choice: Choice) -> None:
    record(bundle, choice)
    opened = loaded(bundle).opened
    encoder, decoder = (open_set(CPU, bundle, name) for name in choice.sets)
    ids, lengths = padded([[3, 4, 5, 6], [7, 8]])
    inputs: dict[str, Array] = {"ids": ids, "lengths": lengths}
    found, expected = (graphs.sequences().run("encode", inputs) for graphs in (opened, encoder))
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    logits = []
    for graphs in (opened, decoder):
        steps = graphs.attention_steps(4)
        steps.put(0, expected["state"][0], {name: expected[name][0, :4] for name in ("memory", "keys")})
        logits.append(steps.step(np.array([3, 4]), np.zeros(2, np.int64)).copy())
    assert np.array_equal(logits[0], logits[1])
    assert all(opened.has(graph) for graph in ("encode", "step", "decode", "decode_beam"))
    assert opened.decoder(4) is not None
    assert opened.beam_decoder(4, 2) is not None


@pytest.mark.parametrize("choice", MIXED, ids=lambda choice: choice.precision)
def test_answers_of_several_sets_do_not_depend_on_the_rest_of_the_batch(bundle: Bundle, choice: Choice) -> None:
    record(bundle, choice)
    rng = np.random.default_rng(0)
    requests = [
        {
            "text": "".join(rng.choice(list("to be or not, "), rng.integers(1, 90))) + "x",
            "max_tokens": int(rng.integers(1, 30)),
            "beam_size": 1 + number % 3,
            "alternatives": 0,
        }
        for number in range(32)
    ]
    with running(loaded(bundle)) as server:
        (card,) = server.client.get("/v1/models").json()["data"]
        with ThreadPoolExecutor(16) as pool:
            together = list(pool.map(lambda fields: server.translate(**fields)["translations"], requests))
        assert [server.translate(**fields)["translations"] for fields in requests[::3]] == together[::3]
    encoder, decoder = choice.sets
    assert card["precision"] == choice.precision
    assert card["graph_sets"] == {"encode": encoder, "step": decoder, "decode": decoder, "decode_beam": decoder}


def test_of_several_sets_one_that_computes_otherwise_here_gives_way(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    record(bundle, MIXED[0])
    path = bundle.path / "onnx" / "fp32" / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["golden"]["logits"] = [-x for x in manifest["golden"]["logits"]]
    path.write_bytes(as_json(sealed(manifest)))
    assert loaded(bundle).precision == "int8"
    assert "golden" in capsys.readouterr().out
