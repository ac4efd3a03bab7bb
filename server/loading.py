"""From the store to models that are ready to run: which to load, which graph set, and whether it can be trusted."""

from typing import Any

import numpy as np
import structlog

from export.backends.golden import check_golden, classifier_answer, language_model_answer, translator_answer
from export.backends.runner import StepRunner
from models.bundle import Bundle
from models.errors import BundleCorruptError, BundleError, BundleNotFoundError, ConfigError, RnnserveError, RunnerError
from models.store import Store
from server.backends import BACKEND, CPU_SETS, open_generation, open_sentiment, open_translation
from server.engine.generation.scheduler import CHUNK
from server.loaded_model import GenerationModel, LoadedModel, SentimentModel, TranslationModel
from server.settings import Settings

log = structlog.get_logger()


def load_models(settings: Settings) -> list[LoadedModel]:
    """Load the models that the settings name, or the highest version of every model in the store.

    A model that was named and cannot be loaded stops the server. Of models that nobody named, one that cannot be
    loaded is left out with a sentence in the log, and the others are served.

    Raises:
        RnnserveError: a named model cannot be loaded, or none can; the message says which and why.
    """
    store = Store(settings.store)
    names = settings.models or tuple(store.names())
    loaded: list[LoadedModel] = []
    for name in names:
        try:
            loaded.append(_load(store, name, settings))
        except RnnserveError as error:
            if settings.models:
                raise
            log.error("model left out", model=name, reason=str(error))
    if not loaded:
        raise BundleNotFoundError(
            f"No model can be served from {settings.store}. Models there: {', '.join(names) or 'none'}. "
            "Train one (python -m training run RECIPE), export it (python -m export build BUNDLE), or give --store."
        )
    return loaded


def _load(store: Store, name: str, settings: Settings) -> LoadedModel:
    """Load one model. Raises RnnserveError."""
    try:
        return _load_best_set(store, name, settings)
    except (OSError, ValueError, RecursionError) as error:
        raise BundleCorruptError(
            f"Model {name} in {settings.store} cannot be read: {type(error).__name__}: {error}. Publish it again."
        ) from error


def _load_best_set(store: Store, name: str, settings: Settings) -> LoadedModel:
    """Load the set that is asked for, or the best that works here. Raises RnnserveError, OSError, ValueError."""
    bundle = Bundle(store.resolve(name))
    if settings.set and settings.set not in CPU_SETS:
        raise ConfigError(
            f"RNNSERVE_SET (--set) is {settings.set}, which is for GPUs; this server computes on {BACKEND}, which runs "
            f"{' and '.join(CPU_SETS)}. {bundle.path} has: {', '.join(bundle.graph_sets) or 'no graph set'}."
        )
    wanted = (settings.set,) if settings.set else tuple(name for name in CPU_SETS if name in bundle.graph_sets)
    if not wanted:
        raise BundleNotFoundError(
            f"{bundle.path} has no graph set that this machine runs ({', '.join(CPU_SETS)}). "
            f"Build them: python -m export build {bundle.path}"
        )
    for graph_set, fallback in zip(wanted, [*wanted[1:], None], strict=True):
        try:
            model = _load_set(bundle, graph_set, settings)
        except (BundleError, ConfigError, RunnerError) as error:
            if fallback is None:
                raise
            log.warning("graph set not used", model=name, set=graph_set, instead=fallback, reason=str(error))
        else:
            log.info("model loaded", model=model.id, set=graph_set, backend=model.backend)
            return model
    raise AssertionError("the last set either loads or raises")


def _load_set(bundle: Bundle, name: str, settings: Settings) -> LoadedModel:
    """Open one graph set, check its golden vector and warm it up. Raises RnnserveError."""
    match bundle.config.task:
        case "generation":
            return _generation(bundle, name, settings)
        case "translation":
            return _translation(bundle, name, settings)
        case "sentiment":
            return _sentiment(bundle, name, settings)


def _generation(bundle: Bundle, name: str, settings: Settings) -> GenerationModel:
    graph_set = bundle.graph_set(name)
    golden = graph_set.manifest.golden
    width = bundle.record.state_width
    steps, sequences = open_generation(
        graph_set, state_width=width, capacity=2 * settings.max_rows, threads=settings.threads
    )
    check_golden(name, golden, language_model_answer(steps, golden.ids, width))
    zeros = np.zeros((1, width), np.float32)
    sequences.run(
        "advance", {"ids": np.zeros((1, CHUNK), np.int64), "lengths": np.array([CHUNK], np.int32), "state": zeros}
    )
    steps.put(0, zeros[0])
    _warm_up(steps, settings.max_rows)
    return GenerationModel(**_facts(bundle, name), state_width=width, steps=steps, sequences=sequences)


def _translation(bundle: Bundle, name: str, settings: Settings) -> TranslationModel:
    languages, end_id = bundle.record.languages, bundle.tokenizer.end_id
    if languages is None or end_id is None:
        raise BundleCorruptError(f"{bundle.path}: a translator has languages and a tokenizer with an end token.")
    graph_set = bundle.graph_set(name)
    golden = graph_set.manifest.golden
    steps, sequences = open_translation(
        graph_set,
        state_width=bundle.record.state_width,
        capacity=2 * settings.max_rows,
        threads=settings.threads,
    )
    check_golden(name, golden, translator_answer(sequences, steps, golden.ids))
    _warm_up(steps, settings.max_rows)
    return TranslationModel(
        **_facts(bundle, name), languages=languages, end_id=end_id, steps=steps, sequences=sequences
    )


def _sentiment(bundle: Bundle, name: str, settings: Settings) -> SentimentModel:
    graph_set = bundle.graph_set(name)
    golden = graph_set.manifest.golden
    sequences = open_sentiment(graph_set, threads=settings.threads)
    check_golden(name, golden, classifier_answer(sequences, golden.ids))
    return SentimentModel(**_facts(bundle, name), labels=bundle.record.labels or [], sequences=sequences)


def _warm_up(steps: StepRunner, num_rows: int) -> None:
    """Step a full batch from slot 0, which holds a state."""
    steps.step(np.zeros(num_rows, np.int64), np.zeros(num_rows, np.int64))


def _facts(bundle: Bundle, precision: str) -> dict[str, Any]:
    """What models of all tasks have, as arguments."""
    return {
        "name": bundle.path.parent.name,  # the folder is what the store and requests call it
        "version": int(bundle.path.name),
        "tokenizer": bundle.tokenizer,
        "precision": precision,
        "backend": BACKEND,
        "metrics": bundle.record.metrics,
    }
