"""Recipes on disk: YAML and overrides in, a checked recipe of the named task out. Knows nothing of torch."""

from pathlib import Path
from typing import Any, get_args

from models.config import FrozenModel, checked
from models.errors import ConfigError
from training.language_model.recipe import LanguageModelRecipe
from training.overrides import applied
from training.recipe import Recipe
from training.recipe_yaml import read_yaml
from training.sentiment.recipe import SentimentRecipe
from training.translation.recipe import TranslationRecipe

RECIPES = Path(__file__).parent / "recipes"
RECIPE_OF_TASK: dict[str, type[Recipe]] = {
    "language-model": LanguageModelRecipe,
    "translation": TranslationRecipe,
    "sentiment": SentimentRecipe,
}


def load_recipe(path: Path, overrides: list[str]) -> Recipe:
    """Read a recipe and apply overrides.

    Args:
        path: the YAML file.
        overrides: "dotted.key=value" each, values in YAML.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not allowed; the message says which are.
    """
    if not path.is_file():
        shipped = ", ".join(sorted(item.name for item in RECIPES.glob("*.yaml")))
        raise ConfigError(f"recipe {path} not found. Shipped in {as_typed(RECIPES)}/: {shipped}.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"recipe {path} is not UTF-8 at byte {error.start}; save it as UTF-8.") from None
    return recipe_from_plain(applied(read_yaml(text, str(path)), overrides), f"recipe {path}")


def recipe_from_plain(plain: Any, where: str) -> Recipe:
    """The recipe that plain data describes.

    Args:
        plain: nested dicts as YAML gives them; the key `task` says which recipe it is.
        where: what it is, for the message.

    Raises:
        ConfigError: a key or value is not allowed; the message says which are.
    """
    if not isinstance(plain, dict):
        raise ConfigError(f"{where}: a recipe is a valid dictionary, key: value on each line; got {ascii(plain)[:80]}.")
    task = plain.get("task")
    if not isinstance(task, str) or task not in RECIPE_OF_TASK:
        found = "missing" if task is None else ascii(task)[:80]
        raise ConfigError(f"{where}: task is {found}; allowed: {', '.join(RECIPE_OF_TASK)}.")
    kind = RECIPE_OF_TASK[task]
    _refuse_unknown_keys(plain, kind, where, "")
    return checked(kind, plain, where)


def as_typed(path: Path) -> Path:
    """An absolute path as a user types it: from the working folder where it lies below that."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _refuse_unknown_keys(plain: Any, kind: type[FrozenModel], where: str, section: str) -> None:
    """Before the general check, because here the section's own keys can be listed."""
    if isinstance(plain, list):
        for number, item in enumerate(plain):
            _refuse_unknown_keys(item, kind, where, f"{section[:-1]}.{number}.")
    if not isinstance(plain, dict):
        return
    unknown = [str(key) for key in plain if key not in kind.model_fields]
    if unknown:
        wrong = ", ".join(section + key for key in unknown)
        place = f"section {section[:-1]}" if section else "the recipe"
        raise ConfigError(f"{where}: unknown key {wrong}; keys of {place}: {', '.join(kind.model_fields)}.")
    for key, field in kind.model_fields.items():
        for candidate in (field.annotation, *get_args(field.annotation)):  # a section, or a list of sections
            if isinstance(candidate, type) and issubclass(candidate, FrozenModel):
                _refuse_unknown_keys(plain.get(key), candidate, where, f"{section}{key}.")
