"""Validation and test files of your own, mixes of pairs, class weights, and what a run says of its data."""

from pathlib import Path

import pytest
import torch

from models.bundle import Bundle, Languages
from models.errors import ConfigError, DataError
from models.network.classifier import Classifier
from tests.training.conftest import RecipeMaker
from training.data.labels import Labelled, labels_file, split_by_class
from training.data.pairs import pairs_file
from training.recipe_file import recipe_from_plain
from training.run import run
from training.sentiment.batches import EncodedText, batch_of
from training.sentiment.module import SentimentModule
from training.translation.corpus import load_pairs
from training.translation.recipe import TranslationRecipe


def with_parts(folder: Path, file: str, section: dict[str, object]) -> dict[str, object]:
    """The section with a validation and a test file that are parts of its own file."""
    text = (folder / file).read_text(encoding="utf-8")
    separator = "\n\n" if file == "tags.tsv" else "\n"
    pieces = text.strip().split(separator)
    if file == "text.txt":
        pieces = [text[i : i + 400] for i in range(0, len(text), 400)]
        separator = ""
    for name, chosen in (("train", pieces[:-30] or pieces), ("val", pieces[-30:-15]), ("test", pieces[-15:])):
        (folder / f"{name}-{file}").write_text(separator.join(chosen or pieces) + "\n", encoding="utf-8")
    changed = {key: value for key, value in section.items() if key != "validation_share"}
    paths = {"path": "train", "validation_path": "val", "test_path": "test"}
    return {**changed, **{key: str(folder / f"{name}-{file}") for key, name in paths.items()}}


@pytest.mark.parametrize(
    ("task", "file", "figure"),
    [
        ("generation", "text.txt", "test_nats_per_character"),
        ("translation", "pairs.tsv", "test_chrf_beam_4"),
        ("sentiment", "labels.tsv", "test_labels_file_macro_f1"),
        ("tagging", "tags.tsv", "test_accuracy"),
    ],
)
def test_own_validation_and_test_files_are_measured(
    task: str, file: str, figure: str, make_recipe: RecipeMaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = make_recipe(task=task, epochs=1).model_dump()
    if task == "sentiment":
        plain["data"]["datasets"][0] = with_parts(tmp_path, file, plain["data"]["datasets"][0])
        plain["class_weights"] = "balanced"
    else:
        plain["data"] = with_parts(tmp_path, file, plain["data"])
    if task == "generation":
        plain["data"]["validation_share"] = 0.1
    bundle = Bundle(run(recipe_from_plain(plain, "test recipe")))
    assert figure in bundle.record.metrics
    assert f"| {figure.replace('_', ' ')} |" in (bundle.path / "README.md").read_text(encoding="utf-8")
    if task in ("sentiment", "tagging"):
        classes = bundle.record.provenance["data"]["classes"]
        assert set(classes) == set(bundle.record.labels or [])
        assert "for training and for validation:\n" in capsys.readouterr().err


def test_what_a_run_loses_is_said_before_and_after_and_in_the_card(
    make_recipe: RecipeMaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Bundle(run(make_recipe(task="translation", epochs=1, batch={"sentences": 4, "max_tokens": 12})))
    (duplicates, too_long) = bundle.record.provenance["data"]["unused"]
    assert (duplicates["reason"], duplicates["key"]) == ("are duplicates", "data.path")
    assert too_long["count"] == too_long["total"] - bundle.record.provenance["data"]["train_pairs"] > 0
    lines = capsys.readouterr().err.splitlines()
    (line,) = (
        line for line in lines if line.endswith("have a side longer than batch.max_tokens=12 (batch.max_tokens)")
    )
    assert lines[-1].startswith("note: ")
    assert lines[-1].endswith("% of the training pairs of pairs-file are not used (batch.max_tokens)")
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    assert f"- {line}." in card
    assert f"- **{lines[-1].removeprefix('note: ')}.**" in card


def test_pairs_that_validate_are_not_trained_on(tmp_path: Path) -> None:
    (tmp_path / "all.tsv").write_text("".join(f"a {i}\tb {i}\n" for i in range(9)), encoding="utf-8")
    (tmp_path / "val.tsv").write_text("a 3\tc\n", encoding="utf-8")
    corpus = pairs_file(
        tmp_path / "all.tsv", Languages(source="en", target="fr"), None, validation_path=tmp_path / "val.tsv"
    )
    assert "a 3" not in {pair.source for pair in corpus.train}
    (item,) = corpus.usage.unused
    assert str(item).endswith("val.tsv (data.validation_path)")


def test_a_class_of_the_test_file_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "all.tsv").write_text("a\tyes\nb\tno\nc\tyes\nd\tno\n", encoding="utf-8")
    (tmp_path / "test.tsv").write_text("e\tmaybe\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"test\.tsv has the classes maybe, which no text of .*; allowed: no, yes"):
        labels_file(tmp_path / "all.tsv", 0.5, test_path=tmp_path / "test.tsv")


def test_labels_are_split_by_class_and_a_single_text_trains() -> None:
    examples = [Labelled(f"{label} {i}", label) for label, size in (("a", 80), ("b", 20), ("c", 2), ("d", 1))
                for i in range(size)]  # fmt: skip
    train, validation = split_by_class(examples, 0.1, "mine")
    assert sorted(label for _, label in validation) == ["a"] * 8 + ["b"] * 2 + ["c"]
    assert sorted([*train, *validation]) == sorted(examples)


def test_balanced_weights_make_classes_count_alike() -> None:
    torch.manual_seed(0)
    model = Classifier.__new__(Classifier)
    torch.nn.Module.__init__(model)
    model.forward = lambda ids, lengths: torch.tensor([[2.0, 0.0]] * len(ids))  # type: ignore[method-assign]
    batch = batch_of([EncodedText([1], 0), EncodedText([1], 0), EncodedText([1], 0), EncodedText([1], 1)])
    plain, _ = SentimentModule(model, 0.0)(batch, None)
    balanced, _ = SentimentModule(model, 0.0, [4 / 6, 2.0])(batch, None)
    good, bad = torch.log1p(torch.exp(torch.tensor(-2.0))), torch.log1p(torch.exp(torch.tensor(2.0)))
    assert float(plain) == pytest.approx(float((3 * good + bad) / 4))
    assert float(balanced) == pytest.approx(float((good + bad) / 2))


def mix(folder: Path, **more: object) -> dict[str, object]:
    (folder / "mine.tsv").write_text(
        "".join(f"phrase {i}\t短语{i}\n" for i in range(40)) + "seven\t七\n", encoding="utf-8"
    )
    numbers = {"dataset": "numbers", "examples": 200, "largest": 99, "validation_share": 0.2, **more}
    own = {"dataset": "pairs-file", "path": str(folder / "mine.tsv"), "validation_share": 0.1, "repeat": 3}
    return {"datasets": [own, numbers]}


def test_a_mix_is_trained_on_and_each_data_set_measured(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    languages = {"source": "en", "target": "zh"}
    recipe = make_recipe(task="translation", epochs=1, data=mix(tmp_path, share=0.5), languages=languages)
    assert isinstance(recipe, TranslationRecipe)
    corpus = load_pairs(recipe)
    held_out = {pair.source for part in (corpus, *corpus.others) for pair in part.validation}
    assert not held_out & {pair.source for pair in corpus.train}
    phrases = [pair for pair in corpus.train if pair.source.startswith("phrase")]
    assert len(phrases) == 3 * len(set(phrases))
    assert any(item.key == "data.datasets.1.share" for item in corpus.usage.unused)
    record = Bundle(run(recipe)).record
    assert {"validation_bleu_greedy", "validation_numbers_bleu_greedy"} <= set(record.metrics)
    assert record.provenance["data"]["name"] == "pairs-file; numbers"
    first = make_recipe(task="translation", data={**mix(tmp_path), "validation": "numbers"}, languages=languages)
    assert isinstance(first, TranslationRecipe)
    assert load_pairs(first).name == "numbers"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "data needs dataset, or datasets with a list"),
        ({"dataset": "tatoeba", "datasets": [{"dataset": "multi30k"}]}, r"data\.dataset goes into data\.datasets"),
        ({"datasets": [{"dataset": "tatoeba"}, {"dataset": "tatoeba"}]}, "name each once, and use repeat"),
        ({"datasets": [{"dataset": "tatoeba"}], "validation": "numbers"}, "is none of the data sets; allowed: tatoeba"),
        ({"datasets": [{"dataset": "tatoeba", "path": "x"}]}, "dataset tatoeba has no path"),
        ({"dataset": "pairs-file", "path": "x"}, r"dataset pairs-file needs data\.validation_share"),
        ({"dataset": "tatoeba", "test_path": "x"}, r"dataset tatoeba has no data\.test_path"),
        (
            {"dataset": "pairs-file", "path": "x", "validation_path": "y", "validation_share": 0.1},
            "do not go together; set one of them to null",
        ),
    ],
)
def test_sections_that_do_not_fit_are_refused(data: dict[str, object], message: str, make_recipe: RecipeMaker) -> None:
    with pytest.raises(ConfigError, match=message):
        make_recipe(task="translation", data=data)
