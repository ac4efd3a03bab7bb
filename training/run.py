"""A whole run: recipe in, published bundle out. The same call after a kill goes on from the last checkpoint."""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from models.bundle import Bundle, publish
from models.digest import as_json
from models.errors import BundleError, ConfigError, DataError
from models.store import Store, checked_name
from training.card import card
from training.progress import Progress
from training.provenance import provenance
from training.recipe import Recipe
from training.run_folder import RunFolder, write_whole
from training.task import Task
from training.tasks import TASKS
from training.trainer import train


def run(recipe: Recipe, *, fresh: bool = False, command: str = "") -> Path:
    """Train, measure and publish.

    Sets the seeds of torch, numpy and Python, and torch's threads when the recipe says how many.

    Args:
        recipe: what to do.
        fresh: begin again, whatever the run folder holds.
        command: how a user would start this run, for the card.

    Returns:
        The published bundle's folder; of a run that was published into this store before, the same one. If that
        one is no longer whole, a new version from the run folder.

    Raises:
        ConfigError: the run folder holds another run or is in use, store or run_dir cannot be a folder, there is no
            GPU, or the loss was not finite.
        DataError: the data is absent or malformed, or a file of the run folder is broken.
        BundleError: the name is not allowed.
    """
    checked_name(recipe.name)
    _check_writable("store", Path(recipe.store) / recipe.name)
    _check_writable("run_dir", recipe.run_path)
    kind = TASKS[recipe.task]
    corpus = kind.read(recipe)
    with RunFolder.opened(recipe.run_path) as folder:
        if fresh:
            folder.clear()
        folder.claim(recipe.model_dump(), corpus.sha256)
        earlier = _published(folder, recipe)
        if earlier is not None:
            return earlier
        _set_up_torch(recipe)
        return _trained(kind.prepared(recipe, corpus), folder, command)


def _check_writable(key: str, folder: Path) -> None:
    """Before the training rather than after it: the folder, or what it will be made in, can be written into."""
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise ConfigError(f"{key}: {there} is not a folder that can be written into; name another one ({key}=FOLDER).")


def _trained(task: Task[Any, Any], folder: RunFolder, command: str) -> Path:
    stage = task.pretraining()
    pretraining: list[dict[str, float]] = []
    if stage is not None:
        earlier = train(stage, folder.pretraining)
        pretraining = [figures.flat() for figures in earlier.history]
        _load_best(folder.pretraining, stage.module.model, half=False)
        task.start_from(stage)
        _set_seeds(task.recipe.seed)  # the same ones whether or not that stage was trained in this process
    progress = train(task, folder)
    _load_best(folder, task.module.model, half=task.recipe.half_weights)
    bundle = _publish(task, progress, pretraining, command)
    write_whole(folder.published, as_json({"bundle": str(bundle.path.resolve()), "sha256": bundle.record.sha256}))
    return bundle.path


def _publish(task: Task[Any, Any], progress: Progress, pretraining: list[dict[str, float]], command: str) -> Bundle:
    recipe, model = task.recipe, task.module.model
    measured = task.measure()
    facts = provenance(task, progress, measured, command=command)
    if pretraining:
        facts["pretraining"] = pretraining
    return publish(
        Store(recipe.store),
        recipe.name,
        config=task.config,
        weights={name: parameter.detach().numpy() for name, parameter in model.named_parameters()},
        tokenizer=task.tokenizer,
        card=card(task.card_parts(measured), metrics=measured.metrics, facts=facts),
        metrics=measured.metrics,
        provenance=facts,
        languages=task.languages,
        labels=task.labels,
        half=recipe.half_weights,
    )


def _published(folder: RunFolder, recipe: Recipe) -> Path | None:
    """The bundle that this run has published into the recipe's store, if it is still there and whole."""
    record = folder.read_published()
    if record is None:
        return None
    path = Path(record["bundle"])
    if path.parent.parent != Path(recipe.store).resolve() or not path.is_dir():
        return None
    try:
        bundle = Bundle(path)
    except (BundleError, ConfigError, OSError):  # changed or broken since: the run folder still has what it takes
        return None
    return path if bundle.record.sha256 == record["sha256"] else None


def _set_up_torch(recipe: Recipe) -> None:
    if recipe.accelerator == "gpu" and not torch.accelerator.is_available():
        raise ConfigError("accelerator is gpu and torch sees none; use accelerator=cpu, or auto.")
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    _set_seeds(recipe.seed)


def _set_seeds(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the legacy generator is what a library would draw from
    torch.manual_seed(seed)


def _load_best(folder: RunFolder, model: nn.Module, *, half: bool) -> None:
    """Give the model its best weights, on the CPU, rounded as they will be published: that is what is measured."""
    try:
        weights = load_file(folder.best)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{folder.best} cannot be read ({error}); begin again with --fresh.") from None
    with torch.no_grad():
        for name, parameter in model.cpu().named_parameters():  # a tied weight has one name
            parameter.copy_(weights[name].half() if half else weights[name])
    model.eval()
