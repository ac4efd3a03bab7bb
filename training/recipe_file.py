"""Recipes on disk: YAML and overrides in, a checked recipe of the named task out. Knows nothing of torch."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args

import yaml

from models.config import FrozenModel, checked
from models.errors import ConfigError
from training.forecast.recipe import ForecastRecipe
from training.generation.recipe import GenerationRecipe
from training.recipe import Recipe
from training.sentiment.recipe import SentimentRecipe
from training.tagging.recipe import TaggingRecipe
from training.translation.recipe import TranslationRecipe

RECIPES = Path(__file__).parent / "recipes"
RECIPE_OF_TASK: dict[str, type[Recipe]] = {
    "generation": GenerationRecipe,
    "translation": TranslationRecipe,
    "sentiment": SentimentRecipe,
    "tagging": TaggingRecipe,
    "forecast": ForecastRecipe,
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
    return recipe_from_plain(with_overrides(read_yaml(text, str(path)), overrides), f"recipe {path}")


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
    plain = _in_todays_keys(plain)
    task = plain.get("task")
    if not isinstance(task, str) or task not in RECIPE_OF_TASK:
        found = "missing" if task is None else ascii(task)[:80]
        raise ConfigError(f"{where}: task is {found}; allowed: {', '.join(RECIPE_OF_TASK)}.")
    kind = RECIPE_OF_TASK[task]
    _refuse_unknown_keys(plain, kind, where, "")
    return checked(kind, plain, where)


def _in_todays_keys(plain: dict[str, Any]) -> dict[str, Any]:
    """A recipe written for an earlier version: its task language-model, its key accelerator outside of a section."""
    plain = dict(plain)
    if plain.get("task") == "language-model":
        plain["task"] = "generation"
    trainer = plain.get("trainer", {})
    if "accelerator" in plain and isinstance(trainer, dict):
        plain["trainer"] = {**trainer, "accelerator": plain.pop("accelerator")}
    return plain


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


def with_overrides(plain: Any, overrides: list[str]) -> Any:
    """The recipe's plain data with overrides set in it; whether a key exists is checked later, with its value.

    Args:
        plain: nested dicts, as the YAML file gives them; not changed.
        overrides: "optimizer.learning_rate=0.001", "data.datasets.0.repeat=2" and the like. A later one wins.

    Raises:
        ConfigError: an override is not key=value, or goes into something that has no keys.
    """
    result = deepcopy(plain)
    for override in overrides:
        key, equals, value = override.partition("=")
        parts = key.split(".")
        if not equals or not all(parts):
            raise ConfigError(f"override {override!r} is not KEY=VALUE, such as optimizer.learning_rate=0.001.")
        section = result
        for part in parts[:-1]:
            section = _below(section, part)
        if not isinstance(section, dict):
            raise ConfigError(f"override {override!r}: {'.'.join(parts[:-1]) or 'the recipe'} has no keys of its own.")
        section[parts[-1]] = read_yaml(value, f"override {override!r}")
    return result


def _below(section: Any, key: str) -> Any:
    """What a section has under a key, an empty section where there is none; None where it can have no keys."""
    if isinstance(section, list) and key.isdecimal() and int(key) < len(section):
        return section[int(key)]
    return section.setdefault(key, {}) if isinstance(section, dict) else None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's floats."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is given twice."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+0123456789.")
)


def read_yaml(text: str, where: str) -> Any:
    """Plain data of a YAML text.

    Args:
        text: YAML.
        where: what it is, for the message.

    Raises:
        ConfigError: it is not YAML; the message gives the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{where}{line}: {error.problem}; correct the YAML.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML: {str(error).splitlines()[0]}.") from None
