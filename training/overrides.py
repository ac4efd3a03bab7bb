"""Overrides of a recipe on the command line: dotted.key=value, the value in YAML."""

from copy import deepcopy
from typing import Any

from models.errors import ConfigError
from training.recipe_yaml import read_yaml


def applied(plain: Any, overrides: list[str]) -> Any:
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
    """What a section holds under a key, an empty section where there is none; None where it can hold nothing."""
    if isinstance(section, list) and key.isdecimal() and int(key) < len(section):
        return section[int(key)]
    return section.setdefault(key, {}) if isinstance(section, dict) else None
