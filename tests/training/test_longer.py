"""A run that is made longer in its folder, a warm start from a bundle, and averaged weights."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.bundle import Bundle
from models.errors import ConfigError
from tests.forked import Program
from tests.training.conftest import RecipeMaker, write_data
from tests.training.test_resume import assert_same, without_times, write_recipe
from training.checkpoint import load_checkpoint
from training.optimizer import factor_of
from training.progress import Cycle
from training.recipe import Recipe, ScheduleSection
from training.run import run


def test_a_finished_run_goes_on_with_more_epochs(make_recipe: RecipeMaker, capsys: pytest.CaptureFixture[str]) -> None:
    first = Bundle(run(make_recipe(epochs=1)))
    second = Bundle(run(make_recipe(epochs=3)))
    shown = capsys.readouterr().err
    assert "epochs was 1 and is 3: the run goes on from epoch 2; schedule one-cycle: " in " ".join(shown.split())
    epochs = second.record.provenance["epochs"]
    assert epochs[:1] == first.record.provenance["epochs"]
    assert [figures["epoch"] for figures in epochs] == [1, 2, 3]
    (_, added) = second.record.provenance["continued"]
    assert added["epochs"] == 3
    assert "then epochs=3 from update" in (second.path / "README.md").read_text(encoding="utf-8")
    assert run(make_recipe(epochs=3)) == second.path.resolve()
    with pytest.raises(ConfigError, match=r"epochs \(3 there, 2 now\)\. A run can be made longer, not shorter\."):
        run(make_recipe(epochs=2))


def test_a_constant_rate_makes_a_longer_run_the_same_as_one_of_that_length(
    make_recipe: RecipeMaker, tmp_path: Path
) -> None:
    constant: dict[str, Any] = {"schedule": {"kind": "constant"}}
    run(make_recipe(epochs=1, **constant))
    longer = Bundle(run(make_recipe(epochs=2, **constant)))
    whole = Bundle(run(make_recipe(epochs=2, **constant, run_dir=str(tmp_path / "whole"))))
    assert longer.record.files["weights.safetensors"] == whole.record.files["weights.safetensors"]


def test_a_run_that_patience_has_ended_goes_on_with_more_patience(make_recipe: RecipeMaker) -> None:
    maker = partial(
        make_recipe, schedule={"kind": "constant"}, optimizer={"learning_rate": 0.5, "clip": 100.0}, epochs=30
    )
    ended = len(Bundle(run(maker(patience=1))).record.provenance["epochs"])
    with pytest.raises(ConfigError, match=r"epochs raised, but the run in .* by patience=1; raise patience, too"):
        run(maker(patience=1, epochs=40))
    assert Bundle(run(maker(patience=1))).record.version == 1  # the folder is as it was
    assert len(Bundle(run(maker(patience=3))).record.provenance["epochs"]) > ended
    with pytest.raises(ConfigError, match=r"patience \(3 there, 2 now\)"):
        run(maker(patience=2))


def test_later_cycles_of_a_schedule() -> None:
    cycles = [Cycle(0, 10, 1), Cycle(10, 20, 3)]
    one_cycle, constant = (
        ScheduleSection.model_validate({"kind": kind, "warmup_share": 0.5}) for kind in ("one-cycle", "constant")
    )
    rates = [factor_of(one_cycle, step, cycles) for step in range(30)]
    assert rates[5] == rates[20] == pytest.approx(1.0)
    assert rates[0] == rates[10] == pytest.approx(1 / 25)
    assert rates[9] == rates[29] == pytest.approx(1e-4)
    assert {factor_of(constant, step, cycles) for step in range(10, 30)} == {1.0}


def test_a_longer_run_that_is_killed_ends_in_the_same_bits(program: Program, tmp_path: Path) -> None:
    start = partial(program, "tests.training.killed_run")
    write_data(tmp_path)
    for name in ("whole", "killed"):
        places = {"run_dir": str(tmp_path / name), "store": str(tmp_path / f"{name}-store"), "average": {"kind": "ema"}}
        assert start(str(write_recipe(tmp_path, "generation", epochs=1, **places)), "never").returncode == 0
        longer = write_recipe(tmp_path, "generation", epochs=2, **places)
        if name == "killed":
            assert start(str(longer), "0").returncode == -9
            assert start(str(longer), "12").returncode == -9
        assert start(str(longer), "never").returncode == 0
    checkpoints = [torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("whole", "killed")]
    assert_same(without_times(checkpoints[0]), without_times(checkpoints[1]))
    best = [(tmp_path / name / "best.safetensors").read_bytes() for name in ("whole", "killed")]
    assert best[0] == best[1]


@pytest.mark.parametrize("task", ["generation", "translation", "sentiment", "tagging"])
def test_a_warm_start_begins_with_the_weights_and_tokenizer_of_a_bundle(
    task: str, make_recipe: RecipeMaker, tmp_path: Path
) -> None:
    first = Bundle(run(make_recipe(task=task, epochs=1)))
    still = {"learning_rate": 1e-12, "weight_decay": 0.0}
    maker = partial(make_recipe, task=task, epochs=1, optimizer=still, run_dir=str(tmp_path / "second"))
    second = Bundle(run(maker(start_from="tiny/1")))
    assert second.record.version == 2
    for name, weights in first.weights().items():
        torch.testing.assert_close(torch.from_numpy(second.weights()[name]), torch.from_numpy(weights))
    assert second.tokenizer.to_json() == first.tokenizer.to_json()
    assert second.record.provenance["start_from"] == {"bundle": "tiny/1", "sha256": first.record.sha256}
    assert "The first weights are those of tiny/1 (sha256" in (second.path / "README.md").read_text(encoding="utf-8")
    by_path = maker(start_from=str(first.path))  # the same run: the bundle's sha256 counts
    assert run(by_path) == second.path.resolve()


def test_a_warm_start_that_does_not_fit_is_said_before_training(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    run(make_recipe(epochs=1))
    sizes = make_recipe().model_dump()["model"]
    elsewhere: dict[str, Any] = {"epochs": 1, "run_dir": str(tmp_path / "second")}
    for changes, message in (
        ({"start_from": "tiny/7"}, r"start_from: tiny/7 is not a folder .* Versions: 1\."),
        ({"start_from": "other"}, r"start_from: other is not a folder with a bundle\.json, .* Models: tiny\."),
        ({"start_from": "tiny", "model": {**sizes, "hidden_size": 20}}, r"tiny/1 has another .*: hidden_size \(16 "),
        ({"start_from": "tiny", "tokenizer": {"kind": "byte-bpe", "vocab_size": 280}}, r"set tokenizer\.kind=char"),
        ({"start_from": "tiny", "task": "sentiment"}, r"tiny/1 is a model of generation and .* task is sentiment"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(make_recipe(**{**elsewhere, **changes}))
    assert run(make_recipe(**elsewhere, start_from="tiny"), fresh=True).name == "2"


def test_a_warm_start_and_pretraining_do_not_go_together(make_recipe: RecipeMaker) -> None:
    with pytest.raises(ConfigError, match="start_from and pretraining both give the first weights"):
        make_recipe(task="sentiment, pre-trained", start_from="tiny")


def test_averages_are_validated_and_published(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    def trained(name: str, **average: Any) -> Recipe:
        recipe = make_recipe(epochs=2, run_dir=str(tmp_path / name), average=average, patience=None)
        run(recipe)
        return recipe

    plain, ema, swa = trained("plain"), trained("ema", kind="ema", decay=0.9), trained("swa", kind="swa", start_share=0)
    paths = [recipe.run_path / "last.ckpt" for recipe in (plain, ema, swa)]
    last = [load_checkpoint(path) for path in paths]
    for checkpoint in last[1:]:  # an average changes nothing in the training itself
        assert_same(checkpoint.weights, last[0].weights)
        assert not torch.equal(checkpoint.average["weights"]["head.bias"], checkpoint.weights["head.bias"])
    assert last[0].average == {}
    assert last[2].average["num_added"] == 2
    for recipe, checkpoint in ((ema, last[1]), (swa, last[2])):
        assert checkpoint.progress["best_epoch"] == 2
        best = load_file(recipe.run_path / "best.safetensors")
        assert_same(best["head.bias"], checkpoint.average["weights"]["head.bias"])


def test_options_of_another_average_are_refused(make_recipe: RecipeMaker) -> None:
    with pytest.raises(ConfigError, match=r"average\.decay goes with average\.kind ema, not with swa; leave it out"):
        make_recipe(average={"kind": "swa", "decay": 0.5})
