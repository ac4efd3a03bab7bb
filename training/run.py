"""A whole run: recipe in, published bundle out. The same call after a kill resumes from the last checkpoint."""

import datetime
import os
import platform
import random
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from models.bundle import Bundle, publish
from models.digest import as_json
from models.errors import BundleError, ConfigError, DataError, RnnserveError
from models.store import Store, checked_name
from runtime.device import processor_name
from training.card import card
from training.checkpoint import load_checkpoint
from training.data.usage import print_losses, print_usage
from training.devices import fabric_of, launched
from training.forecast.task import ForecastTask
from training.generation.task import GenerationTask
from training.progress import Progress
from training.recipe import Recipe
from training.regularization import regularize
from training.run_folder import RunFolder, write_whole
from training.sentiment.task import SentimentTask
from training.tagging.task import TaggingTask
from training.task import Measured, Task
from training.threads import available_cores, num_threads
from training.trainer import train
from training.translation.task import TranslationTask
from training.warm_start import bundle_to_start_from, start_from_bundle

TASKS: dict[str, type[Task[Any, Any]]] = {
    "generation": GenerationTask,
    "translation": TranslationTask,
    "sentiment": SentimentTask,
    "tagging": TaggingTask,
    "forecast": ForecastTask,
}


def run(recipe: Recipe, *, fresh: bool = False, command: str = "") -> Path:
    """Train, measure and publish.

    Sets the seeds of torch, numpy and Python, and torch's threads when the recipe says how many. With several devices
    the process of rank 0 starts this program again for each of the others, which call this function too and end in it.

    Args:
        recipe: what to do.
        fresh: begin again, whatever the run folder has.
        command: how a user would start this run, for the card.

    Returns:
        The published bundle's folder; of a run that was published into this store before, the same one. If that
        one is no longer whole, a new version from the run folder.

    Raises:
        ConfigError: the run folder holds another run or is in use, store or run_dir cannot be a folder, this machine
            cannot do what the section trainer asks for, or the loss was not finite.
        DataError: the data is absent or malformed, or a file of the run folder is broken.
        BundleError: the name is not allowed.
        SystemExit: SIGTERM; or this is a process of another rank than 0, which publishes nothing.
    """
    checked_name(recipe.name)
    _check_writable("store", Path(recipe.store) / recipe.name)
    _check_writable("run_dir", recipe.run_path)
    kind = TASKS[recipe.task]
    corpus = kind.read(recipe)
    start = bundle_to_start_from(recipe)
    fabric = fabric_of(recipe.trainer)
    if fabric.global_rank:
        _trained(kind, recipe, corpus, RunFolder(recipe.run_path), fabric, start)
        raise SystemExit(0)
    with RunFolder.opened(recipe.run_path) as folder:
        if fresh:
            folder.clear()
        identity = (recipe.model_dump(), corpus.sha256, None if start is None else start.record.sha256)
        if raised := folder.claim(*identity):
            _check_goes_on(folder, recipe, raised)
            folder.extend(*identity)
        earlier = _published(folder, recipe)
        if earlier is not None:
            return earlier
        try:
            task, progress, pretraining = _trained(kind, recipe, corpus, folder, fabric, start)
        except RnnserveError:
            folder.forget_unstarted()  # what was wrong can be corrected in the same folder
            raise
        bundle = _publish(task, progress, pretraining, start, command)
        print_losses(task.usage)
        write_whole(folder.published, as_json({"bundle": str(bundle.path.resolve()), "sha256": bundle.record.sha256}))
        return bundle.path


def _check_writable(key: str, folder: Path) -> None:
    """Checked before the training: the folder, or the one it will be made in, can be written into."""
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise ConfigError(f"{key}: {there} is not a folder that can be written into; name another one ({key}=FOLDER).")


def _check_goes_on(folder: RunFolder, recipe: Recipe, raised: list[str]) -> None:
    """Raises unless a run has something left to do with the keys that were raised."""
    if not folder.checkpoint.is_file():
        return
    progress = Progress.from_plain(load_checkpoint(folder.checkpoint).progress)
    if progress.is_over(recipe.epochs, recipe.patience):
        other = "patience" if progress.epoch < recipe.epochs else "epochs"
        raise ConfigError(
            f"{' and '.join(raised)} raised, but the run in {folder.path} ended after epoch {progress.epoch} by "
            f"{other}={getattr(recipe, other)}; raise {other}, too."
        )


def _trained(
    kind: type[Task[Any, Any]], recipe: Recipe, corpus: Any, folder: RunFolder, fabric: Fabric, start: Bundle | None
) -> tuple[Task[Any, Any], Progress, list[dict[str, float]]]:
    """The task with its best weights, its progress, and the figures of the epochs of pre-training, if there were any.

    The other processes start when the task is prepared: what is wrong with the data is reported once, by rank 0.
    """
    threads = num_threads(recipe)
    torch.set_num_threads(threads)
    if not fabric.global_rank:
        print(_threads_line(recipe, threads), file=sys.stderr)
    _set_seeds(recipe.seed)
    task = kind.prepared(recipe, corpus, start)
    if fabric.global_rank == 0:
        print_usage(task.usage)
    if start is not None:
        start_from_bundle(task, start)
    regularize(task.module.model, recipe.regularization)
    stage = task.pretraining()
    pretraining: list[dict[str, float]] = []
    with launched(fabric) as shard:
        torch.set_num_threads(threads)  # again: launching several processes changes it
        if stage is not None:
            earlier = train(stage, folder.pretraining, fabric, shard)
            pretraining = [figures.flat() for figures in earlier.history]
            _load_best(folder.pretraining, stage.module.model, half=False)
            task.start_from(stage)
            _set_seeds(recipe.seed)  # the same ones whether or not that stage was trained in this process
        progress = train(task, folder, fabric, shard)
    _load_best(folder, task.module.model, half=recipe.half_weights)
    return task, progress, pretraining


def _threads_line(recipe: Recipe, threads: int) -> str:
    count = "1 thread" if threads == 1 else f"{threads} threads"
    of = "as the recipe says" if recipe.threads is not None else f"of {available_cores()} available cores"
    return f"{count}, {of}; the last bits of the weights depend on their number (threads={threads} repeats it)"


def _publish(
    task: Task[Any, Any],
    progress: Progress,
    pretraining: list[dict[str, float]],
    start: Bundle | None,
    command: str,
) -> Bundle:
    recipe, model = task.recipe, task.module.model
    measured = task.measure()
    facts = provenance(task, progress, measured, command=command)
    if pretraining:
        facts["pretraining"] = pretraining
    if start is not None:
        facts["start_from"] = {"bundle": start.id, "sha256": start.record.sha256}
    if len(progress.cycles) > 1:
        facts["continued"] = [{"epochs": cycle.epochs, "first_update": cycle.first} for cycle in progress.cycles]
    return publish(
        Store(recipe.store),
        recipe.name,
        config=task.config,
        weights={name: parameter.detach().numpy() for name, parameter in model.named_parameters()},
        tokenizer=task.tokenizer,
        card=card(task.card_parts(measured), metrics=measured.metrics, facts=facts, usage=task.usage),
        metrics=measured.metrics,
        provenance=facts,
        languages=task.languages,
        labels=task.labels,
        words=task.words,
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


LIBRARIES = ("torch", "lightning", "tokenizers", "numpy", "safetensors")


def provenance(task: Task[Any, Any], progress: Progress, measured: Measured, *, command: str) -> dict[str, Any]:
    """Plain data for bundle.json.

    Args:
        task: what was trained; of its recipe, keys that no weight depends on are left out.
        progress: the finished run.
        measured: its details, such as confusion counts, are included.
        command: how a user starts this run again.
    """
    facts = {
        "command": command,
        "recipe": task.recipe.determining(),
        "data": {**task.data, **task.sizes, **task.usage.plain()},
        "best_epoch": progress.best_epoch,
        "epochs": [figures.flat() for figures in progress.history],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "hardware": {
            "processor": processor_name(),
            "threads": num_threads(task.recipe),
            "accelerator": task.recipe.trainer.accelerator,
            "devices": task.recipe.trainer.devices,
        },
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    return {**facts, "measured": measured.details} if measured.details else facts
