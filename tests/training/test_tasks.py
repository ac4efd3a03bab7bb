"""Whole runs of the two tasks beside the language model, and the recipes that need no data."""

import sys
from pathlib import Path

import pytest
import torch

from models.bundle import Bundle, Languages
from models.config import ClassifierConfig, TaggerConfig, TranslatorConfig
from models.errors import ConfigError, DataError
from models.network.classifier import Classifier
from models.network.tagger import Tagger
from models.word_ids import WordEncoder
from tests.training.conftest import RecipeMaker
from training.recipe_file import RECIPES, load_recipe
from training.run import run
from training.sentiment.batches import EncodedText
from training.sentiment.evaluation import scores
from training.translation.corpus import load_pairs
from training.translation.recipe import TranslationRecipe


def test_a_translator_is_published_with_its_figures_and_signatures(make_recipe: RecipeMaker) -> None:
    bundle = Bundle(run(make_recipe(task="translation", half_weights=True)))
    record = bundle.record
    assert isinstance(record.architecture, TranslatorConfig)
    assert record.languages == Languages(source="en", target="fr")
    assert bundle.tokenizer.end_id is not None
    assert {"validation_nats_per_token", "validation_bleu_beam_4", "validation_chrf_greedy"} <= set(record.metrics)
    seen = bundle.experience
    assert (seen.train_pairs, seen.sources_without_letters) == (record.provenance["data"]["train_pairs"], 0)
    assert seen.longest_source_tokens is not None
    assert seen.longest_target_tokens is not None
    assert min(seen.longest_source_tokens, seen.longest_target_tokens) > 1
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    assert "tok:13a" in card
    assert f"| validation bleu beam 4 | {record.metrics['validation_bleu_beam_4']:.4f} |" in card
    assert "Translations of the validation part" not in card  # somebody's own sentences are not published


def test_a_classifier_is_published_with_its_labels_and_its_figures(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    bundle = Bundle(run(make_recipe(task="sentiment", half_weights=True, epochs=8)))
    record = bundle.record
    assert isinstance(record.architecture, ClassifierConfig)
    assert record.labels == ["negative", "positive"]
    assert bundle.tokenizer.is_lowercase
    assert "validation_comparisons_macro_f1" in record.metrics
    confusion = record.provenance["measured"]["confusion"]["labels-file"]
    right, total = confusion[0][0] + confusion[1][1], sum(map(sum, confusion))
    assert record.metrics["validation_accuracy"] == pytest.approx(right / total)
    model = Classifier(record.architecture)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in bundle.weights().items()})
    everything = [line.split("\t") for line in (tmp_path / "labels.tsv").read_text(encoding="utf-8").splitlines()]
    texts = [EncodedText(bundle.tokenizer.encode(text), record.labels.index(label)) for text, label in everything]
    assert scores(model, texts).accuracy > 0.9


def test_a_tagger_is_published_with_its_words_and_its_figures(make_recipe: RecipeMaker) -> None:
    bundle = Bundle(run(make_recipe(task="tagging", half_weights=True, epochs=6)))
    record = bundle.record
    assert isinstance(record.architecture, TaggerConfig)
    assert record.labels == ["DET", "NOUN", "PUNCT"]
    assert bundle.words is not None
    assert [field.kind for field in bundle.words.fields] == ["suffix-2", "shape"]
    assert record.architecture.field_sizes[1:] == [field.size for field in bundle.words.fields]
    assert record.metrics["validation_accuracy"] > 0.9
    counts = record.provenance["measured"]["words"]
    right, there = (sum(numbers[i] for numbers in counts.values()) for i in (0, 2))
    assert record.metrics["validation_accuracy"] == pytest.approx(right / there)
    assert there == record.provenance["data"]["validation_words"]
    model = Tagger(record.architecture)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in bundle.weights().items()})
    found = WordEncoder(bundle.tokenizer, bundle.words).encode(["The", "ship", "unheard", "."])
    logits = model.eval()(torch.tensor([found.ids]), torch.tensor([4]))
    assert [record.labels[i] for i in logits[0].argmax(dim=1).tolist()] == ["DET", "NOUN", "NOUN", "PUNCT"]


def test_a_pre_trained_tagger_counts_what_it_read_before(make_recipe: RecipeMaker) -> None:
    record = Bundle(run(make_recipe(task="tagging, pre-trained", epochs=2))).record
    assert record.provenance["data"]["pretraining_tokens"] == record.provenance["data"]["train_words"]
    assert record.provenance["pretraining"]


def test_numbers_tiny_learns_and_quotes_itself(tmp_path: Path) -> None:
    changes = ["data.largest=99", "data.examples=400", "epochs=12", "batch.sentences=16", "model.hidden_size=64"]
    places = [f"store={tmp_path / 'store'}", f"run_dir={tmp_path / 'run'}"]
    bundle = Bundle(run(load_recipe(RECIPES / "numbers-en-zh-tiny.yaml", [*changes, *places])))
    epochs = bundle.record.provenance["epochs"]
    assert epochs[-1]["validation_nats_per_token"] < 0.8 * epochs[0]["validation_nats_per_token"]
    assert "| source | reference | output (beam 4) |" in (bundle.path / "README.md").read_text(encoding="utf-8")


def test_comparisons_tiny_learns_what_no_count_of_words_can(tmp_path: Path) -> None:
    changes = ["epochs=1", f"store={tmp_path / 'store'}", f"run_dir={tmp_path / 'run'}"]
    bundle = Bundle(run(load_recipe(RECIPES / "comparisons-tiny.yaml", changes)))
    assert bundle.record.metrics["validation_accuracy"] > 0.95


def test_sentences_that_are_all_too_long_are_refused(make_recipe: RecipeMaker) -> None:
    with pytest.raises(DataError, match=r"no pair of pairs-file has at most batch\.max_tokens=1 tokens a side; raise"):
        run(make_recipe(task="translation", batch={"sentences": 4, "max_tokens": 1}))


def test_a_mix_with_a_label_that_is_never_trained_on_is_refused(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    (tmp_path / "labels.tsv").write_text("a\tgood\nb\tgood\nc\tgood\n", encoding="utf-8")
    data = {
        "datasets": [{"dataset": "labels-file", "path": str(tmp_path / "labels.tsv"), "validation_share": 0.4}],
        "validation": "labels-file",
    }
    with pytest.raises(DataError, match=r"training texts have the labels good,.* at least two are needed"):
        run(make_recipe(task="sentiment", data=data))


def test_simplified_needs_chinese(make_recipe: RecipeMaker) -> None:
    recipe = make_recipe(task="translation")
    changed = recipe.model_copy(update={"data": recipe.data.model_copy(update={"simplified": True})})  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="neither language is zh"):
        run(changed)


def test_chinese_can_be_read_in_simplified_characters(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    pytest.importorskip("opencc", reason="opencc is not installed")
    (tmp_path / "pairs.tsv").write_text("I see.\t我覺得。\nI see.\t我觉得。\nGood.\t好。\n", encoding="utf-8")
    data = {"dataset": "pairs-file", "path": str(tmp_path / "pairs.tsv"), "validation_share": 0.5, "simplified": True}
    recipe = make_recipe(task="translation", data=data, languages={"source": "en", "target": "zh"})
    assert isinstance(recipe, TranslationRecipe)
    corpus = load_pairs(recipe)
    assert {pair.target for pair in (*corpus.train, *corpus.validation)} == {"我觉得。", "好。"}
    assert len(corpus.train) == len(corpus.validation) == 1
    assert "OpenCC" in corpus.notice


def test_missing_opencc_is_said(make_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opencc", None)
    recipe = make_recipe(task="translation", languages={"source": "en", "target": "zh"})
    changed = recipe.model_copy(update={"data": recipe.data.model_copy(update={"simplified": True})})  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="pip install opencc"):
        run(changed)
