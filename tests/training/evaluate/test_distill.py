"""A translator's own translations as training pairs."""

from pathlib import Path

import pytest

from models.bundle import Bundle
from models.decoding.options import TranslationOptions
from models.errors import ConfigError
from training.data.table import read_table
from training.evaluate.answers import ServedBundle
from training.evaluate.distill import distill
from training.recipe_file import RECIPES

NUMBERS = RECIPES / "numbers-en-zh-tiny.yaml"
SMALL = ["data.examples=100", "data.largest=999"]
PAIRS = (("source",), ("target",))


def test_each_training_source_has_the_teachers_translation_once(tiny_store: Path, tmp_path: Path) -> None:
    teacher, to = Bundle(tiny_store / "translator" / "1"), tmp_path / "taught.tsv"
    languages = teacher.record.languages
    assert languages is not None
    direction = [f"languages.source={languages.source}", f"languages.target={languages.target}"]
    count = distill(str(teacher.path), NUMBERS, [*SMALL, *direction], to, beam_size=2)
    rows = read_table(to, PAIRS, key="FILE", unit="pairs").rows
    sources = [row.first for row in rows]
    assert count == len(rows) == len(set(sources)) > 20
    found = ServedBundle(teacher).translations(sources, TranslationOptions(beam_size=2), is_split=False)
    assert [row.second for row in rows] == [" ".join(text.split()) for text in found]


def test_what_does_not_fit_is_one_sentence(tiny_store: Path, tmp_path: Path) -> None:
    to = tmp_path / "taught.tsv"
    with pytest.raises(ConfigError, match=r"is for generation; distill reads a recipe of translation"):
        distill("translator", RECIPES / "builtin-tiny.yaml", [], to, store=tiny_store)
    with pytest.raises(ConfigError, match=r"judge/1 is no translator, and recipe .* translates zh to en; they have to"):
        distill("judge", NUMBERS, ["languages.source=zh", "languages.target=en"], to, store=tiny_store)
    to.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"taught\.tsv is there already; name another file"):
        distill("translator", NUMBERS, [], to, store=tiny_store)
    assert to.read_text(encoding="utf-8") == "mine"
