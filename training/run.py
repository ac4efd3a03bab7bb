"""A whole run: recipe in, published bundle out. The same call after a kill goes on from the last checkpoint."""

import math
import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from models.bundle import Bundle, publish
from models.digest import as_json
from models.errors import BundleError, ConfigError, DataError
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
from training.sample import sample
from training.trainer import train

VALIDATION_WINDOW = 1024  # tokens; the state is carried, so the figure does not depend on it


@dataclass(frozen=True)
class _Text:
    """The corpus as the model sees it."""

    tokenizer: Tokenizer
    train: NDArray[np.int64]  # ids of the training stream
    validation: NDArray[np.int64]  # ids of the validation stream
    validation_characters: int  # in all but the first validation token

    @property
    def characters_per_token(self) -> float:
        """Of the validation part."""
        return self.validation_characters / (len(self.validation) - 1)


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
    corpus = load_corpus(recipe.data)
    with RunFolder.opened(recipe.run_path) as folder:
        if fresh:
            folder.clear()
        folder.claim(recipe.model_dump(), corpus.sha256)
        earlier = _published(folder, recipe)
        return _trained(recipe, folder, corpus, command) if earlier is None else earlier


def _check_writable(key: str, folder: Path) -> None:
    """Before the training rather than after it: the folder, or what it will be made in, can be written into."""
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise ConfigError(f"{key}: {there} is not a folder that can be written into; name another one ({key}=FOLDER).")


def _trained(recipe: Recipe, folder: RunFolder, corpus: Corpus, command: str) -> Path:
    _set_up_torch(recipe)
    text = _read(recipe, corpus)
    windows = Windows(text.train, lanes=recipe.batch.lanes, length=recipe.batch.window)
    validation = Windows(text.validation, lanes=1, length=VALIDATION_WINDOW)
    task = LanguageModelTask(
        recipe.model.config(text.tokenizer.vocab_size),
        optimizer=recipe.optimizer,
        schedule=recipe.schedule,
        num_updates=recipe.epochs * len(windows),
    )
    progress = train(
        recipe,
        folder,
        task,
        windows=windows,
        validation=validation,
        characters_per_token=text.characters_per_token,
    )
    model = _best_model(folder, task.model, half=recipe.half_weights)
    nats = mean_nats(model, validation)
    metrics = {
        "validation_nats_per_token": nats,
        "validation_nats_per_character": nats / text.characters_per_token,
        "validation_perplexity": math.exp(nats),
    }
    bundle = _publish(recipe, corpus, text, progress, model, metrics, command)
    write_whole(folder.published, as_json({"bundle": str(bundle.path.resolve()), "sha256": bundle.record.sha256}))
    return bundle.path


def _publish(
    recipe: Recipe,
    corpus: Corpus,
    text: _Text,
    progress: Progress,
    model: LanguageModel,
    metrics: dict[str, float],
    command: str,
) -> Bundle:
    sizes = {
        "train_tokens": len(text.train),
        "validation_tokens": len(text.validation),
        "validation_characters": text.validation_characters,
    }
    facts = provenance(recipe, corpus, progress, sizes=sizes, command=command)
    example = sample(model, text.tokenizer, seed=recipe.seed)
    return publish(
        Store(recipe.store),
        recipe.name,
        config=model.config,
        weights={name: parameter.detach().numpy() for name, parameter in model.named_parameters()},
        tokenizer=text.tokenizer,
        card=card(model, text.tokenizer, metrics=metrics, facts=facts, example=example),
        metrics=metrics,
        provenance=facts,
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
    random.seed(recipe.seed)
    np.random.seed(recipe.seed)  # noqa: NPY002 - the legacy generator is what a library would draw from
    torch.manual_seed(recipe.seed)


def _read(recipe: Recipe, corpus: Corpus) -> _Text:
    if recipe.tokenizer.vocab_size is None:
        tokenizer = Tokenizer.character(corpus.train, end_token=corpus.has_ends)
    else:
        tokenizer = Tokenizer.byte_bpe(corpus.train, recipe.tokenizer.vocab_size, end_token=corpus.has_ends)
    train_ids = stream_from_documents(corpus.train, tokenizer, has_ends=corpus.has_ends)
    validation_ids = stream_from_documents(corpus.validation, tokenizer, has_ends=corpus.has_ends)
    return _Text(tokenizer, train_ids, validation_ids, num_characters(validation_ids[1:], tokenizer))


def _best_model(folder: RunFolder, model: LanguageModel, *, half: bool) -> LanguageModel:
    """The model on the CPU with its best weights, rounded as they will be published: that is what is measured."""
    try:
        weights = load_file(folder.best)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{folder.best} cannot be read ({error}); begin again with --fresh.") from None
    with torch.no_grad():
        for name, parameter in model.cpu().named_parameters():  # a tied weight has one name
            parameter.copy_(weights[name].half() if half else weights[name])
    return model.eval()
