"""docs/recipes.md is what the recipes' classes say, and every key is explained there and in a shipped recipe."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from training.__main__ import main
from training.keys import keys_of, reference
from training.recipe_file import RECIPE_OF_TASK, RECIPES, read_yaml

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"


def given(plain: dict[str, Any], prefix: str = "") -> set[str]:
    """The dotted keys of a recipe, those of a list's items with N."""
    found: set[str] = set()
    for key, value in plain.items():
        found.add(prefix + key)
        if isinstance(value, dict):
            found |= given(value, f"{prefix}{key}.")
        if isinstance(value, list):
            found |= set().union(*(given(item, f"{prefix}{key}.N.") for item in value if isinstance(item, dict)))
    return found


def test_the_page_is_the_output_of_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["training", "keys"])
    with pytest.raises(SystemExit) as error:
        main()
    assert error.value.code == 0
    page = PAGE.read_text(encoding="utf-8")
    assert capsys.readouterr().out == page, "run python -m training keys > docs/recipes.md"


@pytest.mark.parametrize("task", RECIPE_OF_TASK)
def test_every_key_says_what_it_does(task: str) -> None:
    page = reference()
    for key in keys_of(RECIPE_OF_TASK[task]):
        assert key.meaning, key.name
        assert f"`{key.name}`" in page


def test_every_key_is_explained_in_a_shipped_recipe() -> None:
    explained: set[str] = set()
    for path in RECIPES.glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        explained |= given(read_yaml(text, str(path)))
        explained |= set(re.findall(r"^ *# ([\w.]+): ", text, flags=re.MULTILINE))  # what is left out, with a reason
    keys = {key.name for kind in RECIPE_OF_TASK.values() for key in keys_of(kind)}
    of_data = {"data.validation_steps"}  # beside validation_share, of which a recipe has one
    assert keys - explained - of_data == set()
