"""A whole run: recipe in, published bundle out. The same call after a kill goes on from the last checkpoint."""

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from models.bundle import Bundle, publish
from models.digest import as_json
from models.network.language_model import LanguageModel
from models.store import Store, checked_name
from models.tokenizer import Tokenizer
from training.card import card
from training.data.corpus import Corpus
from training.data.datasets import load_corpus
from training.data.stream import num_characters, stream_from_documents
from training.data.windows import Windows
from training.evaluation import mean_nats
from training.language_model import LanguageModelTask
from training.progress import Progress
from training.provenance import provenance
from training.recipe import Recipe
from training.run_folder import RunFolder, write_whole
from training.trainer import train

VALIDATION_WINDOW = 1024  # tokens; the state is carried, so the figure does not depend on it


def run(recipe: Recipe, *, fresh: bool = False, command: str = "") -> Path:
    """Train, measure and publish.

    Args:
        recipe: what to do.
        fresh: begin again, whatever the run folder holds.
        command: how a user would start this run, for the card.

    Returns:
        The published bundle's folder; of a run that was published before, the same one.

    Raises:
        ConfigError: the run folder holds another run or is in use, or the loss was not finite.
        DataError: the data is absent or malformed, or the checkpoint is broken.
        BundleError: the name is not allowed.
    """
    checked_name(recipe.name)
    corpus = load_corpus(recipe.data)
    with RunFolder.opened(recipe.run_path) as folder:
        if fresh:
            folder.clear()
        folder.claim(recipe.model_dump(), corpus.sha256)
        if (earlier := _published(folder, recipe)) is not None:
            return earlier
        return _run(recipe, folder, corpus, command)


def _run(recipe: Recipe, folder: RunFolder, corpus: Corpus, command: str) -> Path:
    _seed(recipe)
    tokenizer = _tokenizer(recipe, corpus)
    train_ids = stream_from_documents(corpus.train, tokenizer, has_ends=corpus.has_ends)
    validation_ids = stream_from_documents(corpus.validation, tokenizer, has_ends=corpus.has_ends)
    characters = num_characters(validation_ids[1:], tokenizer)
    windows = Windows(train_ids, lanes=recipe.batch.lanes, length=recipe.batch.window)
    validation = Windows(validation_ids, lanes=1, length=VALIDATION_WINDOW)
    task = LanguageModelTask(
        recipe.model.config(tokenizer.vocab_size),
        optimizer=recipe.optimizer,
        schedule=recipe.schedule,
        num_updates=recipe.epochs * len(windows),
    )
    progress = train(recipe, folder, task, windows, validation, characters / validation.num_targets)
    model = _best_model(folder, task.model, half=recipe.half_weights)
    metrics = _metrics(progress, mean_nats(model, validation), characters / validation.num_targets)
    sizes = {
        "train_tokens": len(train_ids),
        "validation_tokens": len(validation_ids),
        "validation_characters": characters,
    }
    facts = provenance(recipe, corpus, progress, sizes=sizes, command=command)
    bundle = publish(
        Store(recipe.store),
        recipe.name,
        config=model.config,
        weights={name: tensor.numpy() for name, tensor in model.state_dict().items()},
        tokenizer=tokenizer,
        card=card(recipe, corpus, model.config, tokenizer, metrics, facts),
        metrics=metrics,
        provenance=facts,
        half=recipe.half_weights,
    )
    write_whole(folder.published, as_json({"bundle": str(bundle.path.resolve()), "sha256": bundle.record.sha256}))
    return bundle.path


def _published(folder: RunFolder, recipe: Recipe) -> Path | None:
    """The bundle that this run has published into the recipe's store, if it is still there."""
    if not folder.published.is_file():
        return None
    record: dict[str, Any] = json.loads(folder.published.read_bytes())
    path = Path(record["bundle"])
    if path.parent.parent != Path(recipe.store).resolve() or not path.is_dir():
        return None
    return path if Bundle(path).record.sha256 == record["sha256"] else None


def _seed(recipe: Recipe) -> None:
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    random.seed(recipe.seed)
    np.random.seed(recipe.seed)  # noqa: NPY002
    torch.manual_seed(recipe.seed)


def _tokenizer(recipe: Recipe, corpus: Corpus) -> Tokenizer:
    if recipe.tokenizer.vocab_size is None:
        return Tokenizer.character(corpus.train, end_token=corpus.has_ends)
    return Tokenizer.byte_bpe(corpus.train, recipe.tokenizer.vocab_size, end_token=corpus.has_ends)


def _best_model(folder: RunFolder, model: LanguageModel, *, half: bool) -> LanguageModel:
    """The model on the CPU with its best weights, rounded as they will be published: that is what is measured."""
    weights = load_file(folder.best)
    if half:
        weights = {name: tensor.half().float() for name, tensor in weights.items()}
    model.cpu().load_state_dict(weights)
    return model


def _metrics(progress: Progress, nats: float, characters_per_token: float) -> dict[str, float]:
    return {
        "validation_nats_per_token": nats,
        "validation_nats_per_character": nats / characters_per_token,
        "validation_perplexity": math.exp(min(nats, 700.0)),
        "best_epoch": float(progress.best_epoch),
        "epochs": float(progress.epoch),
    }
