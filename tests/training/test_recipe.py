import re
from pathlib import Path

import pytest

from models.errors import ConfigError
from training.generation.recipe import GenerationRecipe
from training.recipe_file import RECIPES, load_recipe
from training.sentiment.recipe import SentimentRecipe

TINY = RECIPES / "builtin-tiny.yaml"
SHIPPED = sorted(RECIPES.glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipe_is_allowed_and_every_key_is_explained(path: Path) -> None:
    assert load_recipe(path, []).name == path.stem
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    assert first.startswith("# ")
    unexplained = [line for line in lines if not re.search(r"# \S", line) and not re.fullmatch(r"\w+:", line)]
    assert unexplained == []
    assert re.search(r"second|minute|hour", first), "the list of recipes says how long each takes"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_another_name_is_another_run_of_a_shipped_recipe(path: Path) -> None:
    assert load_recipe(path, []).run_path == Path("runs") / path.stem
    assert load_recipe(path, ["name=mine"]).run_path == Path("runs/mine")


def test_overrides_are_dotted_and_yaml() -> None:
    recipe = load_recipe(TINY, ["optimizer.learning_rate=3e-4", "patience=2", "patience=null", "model.kind=rnn-relu"])
    assert recipe.optimizer.learning_rate == 3e-4
    assert recipe.patience is None
    assert isinstance(recipe, GenerationRecipe)
    assert recipe.model.kind == "rnn-relu"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.momentum=1", r"unknown key optimizer\.momentum; keys of section optimizer: learning_rate, "),
        ("epoch=1", r"unknown key epoch; keys of the recipe: task, name"),
        ("epochs=0", r"epochs: .*greater than or equal to 1 \(got 0\)"),
        ("epochs=ten", r"epochs: .*valid integer \(got 'ten'\)"),
        ("model.dropout=1.0", r"model\.dropout: .*less than 1"),
        ("model.kind=transformer", r"model\.kind: .*registered: rnn-tanh, rnn-relu, lstm, gru.* \(got 'transformer'\)"),
        ("optimizer.learning_rate=.nan", "finite"),
        ("data.path=x.txt", r"data: data\.path goes with dataset text-file, not with builtin"),
        ("data={dataset: text-file}", r"data: dataset text-file needs data\.path"),
        ("data={dataset: names, max_characters: 100}", r"data\.max_characters goes with .* builtin, not with names"),
        ("data={dataset: copy, longest: 20}", r"data: dataset copy needs data\.examples, such as data\.examples=1000"),
        (
            "data={dataset: copy, longest: 20, examples: 100}",
            r"batch\.window is for a running text, and dataset copy is",
        ),
        ("data={dataset: recall, longest: 2000, examples: 100}", r"data\.longest: .*less than or equal to 1000"),
        ("data={dataset: names, examples: 100}", r"data\.examples goes with datasets copy and recall, not with names"),
        ("batch={lanes: 32}", r"dataset builtin needs batch\.window, such as batch\.window=64"),
        ("tokenizer.vocab_size=300", r"tokenizer\.vocab_size goes with kind byte-bpe, not with character"),
        ("tokenizer.kind=byte-bpe", r"tokenizer: byte-bpe needs tokenizer\.vocab_size, such as"),
        ("trainer.devices=0", r"trainer\.devices: .*greater than or equal to 1 \(got 0\)"),
        ("trainer.precision=16-mixed", r"trainer\.precision: .*'32-true' or 'bf16-mixed' \(got '16-mixed'\)"),
        ("trainer.strategy=fsdp", r"trainer\.strategy: .*'auto' or 'ddp' \(got 'fsdp'\)"),
        ("trainer.logger=wandb", r"trainer\.logger: .*'none', 'csv' or 'tensorboard' \(got 'wandb'\)"),
        ("trainer.gpus=2", r"unknown key trainer\.gpus; keys of section trainer: accelerator, devices, strategy"),
        ("trainer.strategy=ddp", r"strategy ddp is for several devices and trainer\.devices is 1; set both or neither"),
        ("trainer.devices=33", r"batch\.lanes is 32 and trainer\.devices is 33; each device needs a lane of its own"),
        ("epochs", "'epochs' is not KEY=VALUE"),
        ("epochs.x=1", "epochs has no keys of its own"),
        ("epochs=[1", "override 'epochs=\\[1' line 1: .*correct the YAML"),
    ],
)
def test_a_wrong_override_says_what_is_allowed(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(TINY, [override])


NUMBERS = RECIPES / "numbers-en-zh-tiny.yaml"
COMPARISONS = RECIPES / "comparisons-tiny.yaml"
ERRANDS = RECIPES / "errands-tiny.yaml"


@pytest.mark.parametrize(
    ("recipe", "override", "message"),
    [
        (TINY, "task=parsing", r"task is 'parsing'; allowed: generation, translation, sentiment, tagging, forecast\."),
        (TINY, "task=null", r"task is missing; allowed: generation,"),
        (TINY, "token_dropout=0.1", r"unknown key token_dropout; keys of the recipe: task, name"),
        (TINY, "tokenizer.lowercase=true", r"unknown key tokenizer\.lowercase; keys of section tokenizer: kind, vocab"),
        (NUMBERS, "tokenizer.lowercase=true", r"unknown key tokenizer\.lowercase"),
        (NUMBERS, "data.path=x.tsv", r"data: dataset numbers has no data\.path; leave it out"),
        (NUMBERS, "data={dataset: pairs-file}", r"dataset pairs-file needs data\.path, data\.validation_share"),
        (NUMBERS, "languages.target=zho", r"languages\.target: .*match pattern .*got 'zho'"),
        (NUMBERS, "model.attention=additive", r"model: .*additive attention needs attention_size"),
        (NUMBERS, "label_smoothing=1", r"label_smoothing: .*less than 1"),
        (COMPARISONS, "data.validation=sst2", r"data\.validation sst2 is none of the data sets; allowed: comparisons"),
        (
            COMPARISONS,
            "data.datasets.0.repeats=2",
            r"unknown key data\.datasets\.0\.repeats; keys of section data\.data",
        ),
        (COMPARISONS, "data.datasets.0.natural=true", r"dataset comparisons has no natural; leave it out"),
        (COMPARISONS, "data.datasets.0.fade_to=0.5", r"fade_to goes with examples"),
        (COMPARISONS, "data.datasets.1.repeat=2", r"data\.datasets\.1 has no keys of its own"),
        (COMPARISONS, "data.datasets=[]", r"data\.datasets: .*at least 1 item"),
        (COMPARISONS, "model.vocab_size=9", r"unknown key model\.vocab_size"),
        (ERRANDS, "data.format=tsv", r"dataset errands has no format; leave it out"),
        (ERRANDS, "data={dataset: tags-file}", r"dataset tags-file needs format, path, splitter, validation_share"),
        (ERRANDS, "data.column=xpos", r"column xpos goes with CoNLL-U; leave it out for dataset errands"),
        (ERRANDS, "fields.0.kind=suffix-9", r"fields\.0\.kind: .*suffix-2"),
        (RECIPES / "tag-en.yaml", "model.crf=true", r"label_smoothing is for taggers without a CRF; leave it out"),
        (ERRANDS, "tokenizer.vocab_size=300", r"unknown key tokenizer\.vocab_size; keys of section tokenizer: kind"),
    ],
)
def test_each_task_has_its_own_keys(recipe: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe, [override])


def test_pretraining_needs_a_lane_on_each_device() -> None:
    with pytest.raises(ConfigError, match=r"pretraining\.lanes is 3 and trainer\.devices is 4"):
        load_recipe(RECIPES / "sentiment-en.yaml", ["pretraining.lanes=3", "trainer.devices=4"])


def test_a_recipe_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    recipe = load_recipe(TINY, ["task=language-model", "accelerator=auto", "trainer.precision=bf16-mixed"])
    assert (recipe.task, recipe.trainer.accelerator, recipe.trainer.precision) == ("generation", "auto", "bf16-mixed")


def test_an_override_reaches_into_a_list() -> None:
    recipe = load_recipe(COMPARISONS, ["data.datasets.0.repeat=3"])
    assert isinstance(recipe, SentimentRecipe)
    assert recipe.data.datasets[0].repeat == 3


def test_a_missing_recipe_lists_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml not found\. .*shakespeare-char\.yaml"):
        load_recipe(tmp_path / "no.yaml", [])


def test_the_shipped_recipes_are_named_by_their_real_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(RECIPES.parents[1])
    with pytest.raises(ConfigError, match=r"Shipped in training/recipes/: "):
        load_recipe(Path("no.yaml"), [])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(f"Shipped in {RECIPES}/: ")):
        load_recipe(Path("no.yaml"), [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "line 2: key 'a' is given twice"),
        ("a: [1", "correct the YAML"),
        ("just words", "valid dictionary"),
        ("", "valid dictionary"),
        ("a: \x01", "is not YAML"),
    ],
)
def test_a_broken_recipe_is_refused_in_words(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_recipe(tmp_path / "bad.yaml", [])


def test_an_override_of_words_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("just words", encoding="utf-8")
    with pytest.raises(ConfigError, match="the recipe has no keys"):
        load_recipe(tmp_path / "bad.yaml", ["epochs=1"])


def test_a_recipe_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(ConfigError, match=r"bad\.yaml is not UTF-8 at byte 9"):
        load_recipe(tmp_path / "bad.yaml", [])
