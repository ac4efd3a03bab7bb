"""A warm start: the weights of a published bundle as the first weights of a run.

Architecture, labels and the tokenizer's kind have to be the bundle's; the tokenizer itself is taken from it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from models.bundle import RECORD, Bundle
from models.errors import BundleError, ConfigError
from models.store import Store
from training.recipe import Recipe
from training.run_folder import flattened
from training.task import Task

_KINDS = {"word": "word-level"}  # what a tagger's recipe calls a kind of tokenizer -> what its bundle does
_FREE = frozenset({"dropout"})  # of an architecture: no weight has its shape from it


def bundle_to_start_from(recipe: Recipe) -> Bundle | None:
    """The bundle that the recipe's start_from names; None where it names none.

    Raises:
        ConfigError: there is no such bundle, or it is of another task or has another tokenizer.
        BundleError: it is not whole.
    """
    if recipe.start_from is None:
        return None
    bundle = Bundle(bundle_path(recipe.start_from, recipe.store, "start_from"))
    if bundle.record.task != recipe.task:
        raise ConfigError(
            f"start_from: {bundle.id} is a model of {bundle.record.task} and the recipe's task is {recipe.task}; name "
            "a bundle of the same task."
        )
    section, record = recipe.tokenizer, bundle.record.tokenizer
    kinds = _KINDS if recipe.task == "tagging" else {}
    if section is not None and record is not None and kinds.get(section.kind, section.kind) != record.kind:
        raise ConfigError(
            f"start_from: {bundle.id} has a tokenizer of kind {record.kind} and tokenizer.kind is {section.kind}; "
            f"the tokenizer is taken from the bundle, so set tokenizer.kind={record.kind}."
        )
    return bundle


def bundle_path(text: str, store: str, key: str) -> Path:
    """A bundle's folder, or that of NAME/VERSION or NAME in the store.

    Raises:
        ConfigError: there is none; the message names the recipe's key.
    """
    path = Path(text)
    if (path / RECORD).is_file():
        return path
    try:
        return Store(store).resolve(text)
    except BundleError as error:
        raise ConfigError(
            f"{key}: {text} is not a folder with a {RECORD}, and the store {store} has no such model: {error}"
        ) from None


def start_from_bundle(task: Task[Any, Any], bundle: Bundle) -> None:
    """Copy the bundle's weights into the task's network.

    Raises:
        ConfigError: architecture or labels differ; the message names what does, with both values.
    """
    mine, theirs = (
        flattened({**config.model_dump(), **({"labels": labels} if labels else {})})
        for config, labels in ((task.config, task.labels), (bundle.config, bundle.record.labels))
    )
    differing = [key for key in sorted({*mine, *theirs} - _FREE) if mine.get(key) != theirs.get(key)]
    if differing:
        shown = ", ".join(f"{key} ({theirs.get(key)} there, {mine.get(key)} now)" for key in differing[:10])
        more = f" and {len(differing) - 10} more" if len(differing) > 10 else ""
        raise ConfigError(
            f"start_from: {bundle.id} has another network than this run: {shown}{more}. Set these keys as the bundle "
            "has them, or leave out start_from."
        )
    weights = bundle.weights()
    with torch.no_grad():
        for name, parameter in task.module.model.named_parameters():
            parameter.copy_(torch.from_numpy(weights[name]))


def check_kinds(bundle: Bundle, what: str, there: Iterable[str], now: Iterable[str]) -> None:
    """Raises ConfigError unless two lists of names, such as a tagger's fields, are equal."""
    if list(there) != list(now):
        raise ConfigError(
            f"start_from: {bundle.id} has the {what} {', '.join(there) or 'none'} and this run "
            f"{', '.join(now) or 'none'}; they have to be the same."
        )
