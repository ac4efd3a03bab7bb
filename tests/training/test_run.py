import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from models.bundle import Bundle
from models.config import LanguageModelConfig
from models.errors import BundleError, ConfigError, DataError
from models.network.language_model import LanguageModel
from tests.training.conftest import RecipeMaker
from training.generation.evaluation import mean_nats
from training.generation.windows import Windows
from training.run import run


def test_a_run_publishes_a_bundle_whose_figures_are_those_of_its_weights(
    make_recipe: RecipeMaker, tmp_path: Path
) -> None:
    recipe = make_recipe(half_weights=True)
    path = run(recipe, command="python -m training run tiny.yaml")
    bundle = Bundle(path)
    text = (tmp_path / "text.txt").read_text(encoding="utf-8")
    validation = text[round(len(text) * 0.9) :]
    assert isinstance(bundle.config, LanguageModelConfig)
    model = LanguageModel(bundle.config)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in bundle.weights().items()})
    nats = mean_nats(model, Windows(np.asarray(bundle.tokenizer.encode(validation)), lanes=1, length=10_000))
    metrics = bundle.record.metrics
    assert metrics["validation_nats_per_token"] == pytest.approx(nats, abs=1e-6)
    assert metrics["validation_nats_per_character"] == metrics["validation_nats_per_token"]
    assert metrics["validation_perplexity"] == pytest.approx(math.exp(nats), abs=1e-4)
    assert nats < math.log(bundle.config.vocab_size)

    facts = bundle.record.provenance
    assert facts["recipe"]["model"]["hidden_size"] == 16
    assert "run_dir" not in facts["recipe"]
    assert [figures["epoch"] for figures in facts["epochs"]] == [1, 2]
    card = (path / "README.md").read_text(encoding="utf-8")
    for part in ("2 x LSTM", "float16", f"{metrics['validation_nats_per_token']:.4f}", facts["data"]["sha256"]):
        assert part in card
    assert "    python -m training run tiny.yaml\n" in card
    lines = (recipe.run_path / "epochs.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == facts["epochs"]
    assert (recipe.run_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_run_again_is_the_same_bundle(make_recipe: RecipeMaker) -> None:
    first = run(make_recipe(epochs=1))
    assert run(make_recipe(epochs=1)) == first.resolve()
    with pytest.raises(ConfigError, match=r"seed \(7 there, 8 now\)"):
        run(make_recipe(epochs=1, seed=8))
    fresh = run(make_recipe(epochs=2), fresh=True)
    assert fresh.name == "2"


def test_the_same_text_by_another_path_is_the_same_run(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    first = run(make_recipe(epochs=1))
    (tmp_path / "text.txt").rename(tmp_path / "moved.txt")
    moved = make_recipe(epochs=1, data={"dataset": "text-file", "path": str(tmp_path / "moved.txt")})
    assert run(moved) == first.resolve()


@pytest.mark.parametrize("file", ["bundle.json", "weights.safetensors"])
def test_a_published_bundle_that_is_no_longer_whole_is_published_again(file: str, make_recipe: RecipeMaker) -> None:
    first = run(make_recipe(epochs=1))
    weights = Bundle(first).record.files["weights.safetensors"]
    (first / file).write_bytes(b"broken")
    again = run(make_recipe(epochs=1))
    assert again.name == "2"
    assert Bundle(again).record.files["weights.safetensors"] == weights
    assert run(make_recipe(epochs=1)) == again.resolve()


def test_the_same_recipe_elsewhere_gives_the_same_weights(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    digests = {
        Bundle(run(make_recipe(run_dir=str(tmp_path / place)))).record.files["weights.safetensors"]
        for place in ("here", "there")
    }
    assert len(digests) == 1


def test_bpe_counts_nats_per_character_over_characters(make_recipe: RecipeMaker) -> None:
    recipe = make_recipe(epochs=1, tokenizer={"kind": "byte-bpe", "vocab_size": 280}, batch={"lanes": 2, "window": 16})
    bundle = Bundle(run(recipe))
    metrics, data = bundle.record.metrics, bundle.record.provenance["data"]
    ratio = data["validation_characters"] / (data["validation_tokens"] - 1)
    assert ratio > 1.5
    assert metrics["validation_nats_per_character"] == pytest.approx(metrics["validation_nats_per_token"] / ratio)
    assert "byte-level BPE tokens" in (bundle.path / "README.md").read_text(encoding="utf-8")


def test_names_have_ends(make_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "names.txt").write_text(
        "".join(f"an{'na' * (i % 5)}\n" for i in range(200)), encoding="utf-8"
    )
    monkeypatch.setenv("RNNSERVE_DATA", str(tmp_path))
    bundle = Bundle(run(make_recipe(epochs=1, data={"dataset": "names"})))
    assert bundle.tokenizer.end_id == 1


def test_patience_stops_the_run(make_recipe: RecipeMaker) -> None:
    recipe = make_recipe(
        epochs=30, patience=1, schedule={"kind": "constant"}, optimizer={"learning_rate": 0.5, "clip": 100.0}
    )
    facts = Bundle(run(recipe)).record.provenance
    assert len(facts["epochs"]) < 30
    assert facts["best_epoch"] == len(facts["epochs"]) - 1


def test_a_loss_that_is_not_a_number_is_said_and_nothing_is_published(
    make_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.generation.task.mean_nats", lambda *_: math.nan)
    recipe = make_recipe(epochs=1)
    with pytest.raises(ConfigError, match=r"loss is nan in validation after epoch 1; lower optimizer\.learning_rate"):
        run(recipe)
    assert not Path(recipe.store).exists()


def test_lost_best_weights_are_named(make_recipe: RecipeMaker) -> None:
    recipe = make_recipe(epochs=1)
    run(recipe)
    (recipe.run_path / "best.safetensors").unlink()
    (recipe.run_path / "published.json").unlink()
    with pytest.raises(DataError, match=r"best\.safetensors cannot be read .*--fresh"):
        run(recipe)


def test_a_name_that_is_not_allowed_is_refused_before_training(make_recipe: RecipeMaker) -> None:
    recipe = make_recipe(name="../up")
    with pytest.raises(BundleError, match="not allowed"):
        run(recipe)
    assert not recipe.run_path.exists()


@pytest.mark.parametrize("below", ["", "below/it"])
@pytest.mark.parametrize("key", ["store", "run_dir"])
def test_a_place_that_cannot_be_a_folder_is_refused_before_training(
    key: str, below: str, make_recipe: RecipeMaker, tmp_path: Path
) -> None:
    recipe = make_recipe(**{key: str(tmp_path / "text.txt" / below)})
    with pytest.raises(ConfigError, match=rf"{key}: .*text\.txt is not a folder .* \({key}=FOLDER\)"):
        run(recipe)
    assert not {path.name for path in tmp_path.iterdir()} & {"store", "run"}


def test_a_place_that_cannot_be_written_into_is_refused_before_training(
    make_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # as root, who may write everywhere, would never see
    with pytest.raises(ConfigError, match=r"store: .* is not a folder that can be written into"):
        run(make_recipe())
    assert not (tmp_path / "run").exists()


def test_a_missing_gpu_is_said(make_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"torch sees none; use trainer\.accelerator=cpu"):
        run(make_recipe(trainer={"accelerator": "gpu"}))


def test_tied_embeddings_train_and_publish(make_recipe: RecipeMaker) -> None:
    sizes = {"kind": "gru", "embedding_size": 16, "hidden_size": 16, "num_layers": 1, "tied_embeddings": True}
    bundle = Bundle(run(make_recipe(epochs=1, model=sizes, half_weights=True)))
    assert isinstance(bundle.config, LanguageModelConfig)
    assert bundle.config.tied_embeddings
    assert "head.weight" not in bundle.weights()
    figures = bundle.record.provenance["epochs"][0]["validation_nats_per_token"]
    assert bundle.record.metrics["validation_nats_per_token"] == pytest.approx(figures, abs=1e-3)
