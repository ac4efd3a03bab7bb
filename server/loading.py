"""From the store to models that are ready to run: which to load, which graph set, and whether it can be trusted."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import structlog

from models.bundle import Bundle
from models.errors import BundleCorruptError, BundleError, BundleNotFoundError, ConfigError, RnnserveError, RunnerError
from models.store import Store
from runtime.buckets import buckets_up_to
from runtime.choice import Choice
from runtime.golden import check_golden, golden_answer
from runtime.opening import CPU, OpenSet, open_set
from runtime.runner import StepRunner
from server.backends import Backends
from server.engine.generation.prefix_cache import CHUNK
from server.loaded_model import GenerationModel, LoadedModel, SentimentModel, TranslationModel
from server.settings import Settings

log = structlog.get_logger()

Loaded = TypeVar("Loaded")


def load_models(settings: Settings) -> list[LoadedModel]:
    """Load the models that the settings name, or the highest version of every model in the store, in this process.

    Raises:
        RnnserveError: as `each_loaded`.
    """
    backends = Backends(settings)
    return each_loaded(settings, names_of(settings), lambda name: load_model(name, settings, backends))


def names_of(settings: Settings) -> Sequence[str]:
    """The models that are to be loaded."""
    return settings.models or tuple(Store(settings.store).names())


def each_loaded(settings: Settings, names: Sequence[str], load: Callable[[str], Loaded]) -> list[Loaded]:
    """What `load` gives for each name.

    A model that was named and cannot be loaded stops the server. Of models that nobody named, one that cannot be
    loaded is left out with a sentence in the log, and the others are served.

    Raises:
        RnnserveError: a named model cannot be loaded, or none can; the message says which and why.
    """
    loaded: list[Loaded] = []
    for name in names:
        try:
            loaded.append(load(name))
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


def load_model(name: str, settings: Settings, backends: Backends | None = None) -> LoadedModel:
    """Load one model.

    Args:
        name: "name" or "name/version".
        settings: the server's.
        backends: what it may compute on; by default found out.

    Raises:
        RnnserveError: it cannot be loaded; the message says why.
    """
    try:
        return _load_best(name, settings, backends or Backends(settings))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleCorruptError(
            f"Model {name} in {settings.store} cannot be read: {type(error).__name__}: {error}. Publish it again."
        ) from error


def _load_best(name: str, settings: Settings, backends: Backends) -> LoadedModel:
    """Load what is asked for, or the best that works here. Raises RnnserveError, OSError, ValueError."""
    bundle = Bundle(Store(settings.store).resolve(name))
    choices = backends.choices(bundle)
    for choice, fallback in zip(choices, [*choices[1:], None], strict=True):
        try:
            model = _load_choice(bundle, choice, settings)
        except (BundleError, ConfigError, RunnerError) as error:
            if fallback is None:
                raise
            log.warning("graph set not used", model=name, set=str(choice), instead=str(fallback), reason=str(error))
        else:
            log.info("model loaded", model=model.id, set=choice.set, backend=choice.backend)
            return model
    raise AssertionError("the last choice either loads or raises")


def _load_choice(bundle: Bundle, choice: Choice, settings: Settings) -> LoadedModel:
    """Open one graph set, check its golden vector and warm it up. Raises RnnserveError."""
    opened = open_set(choice.backend, bundle, choice.set, threads=settings.threads)
    match bundle.config.task:
        case "generation":
            return _generation(bundle, choice, opened, settings)
        case "translation":
            return _translation(bundle, choice, opened, settings)
        case "sentiment":
            return _sentiment(bundle, choice, opened, settings)
        case _:
            raise ConfigError(f"{bundle.id} is for {bundle.config.task}, which this server does not serve.")


def _generation(bundle: Bundle, choice: Choice, opened: OpenSet, settings: Settings) -> GenerationModel:
    golden = opened.graph_set.manifest.golden
    width = bundle.record.state_width
    steps, sequences = opened.steps(2 * settings.max_rows), opened.sequences()
    check_golden(choice.set, golden, golden_answer(bundle.task, golden.ids, width, sequences, steps))
    zeros = np.zeros((1, width), np.float32)
    sequences.run(
        "advance", {"ids": np.zeros((1, CHUNK), np.int64), "lengths": np.array([CHUNK], np.int32), "state": zeros}
    )
    steps.put(0, zeros[0])
    _warm_up(steps, choice, settings.max_rows)
    return GenerationModel(**_facts(bundle, choice), state_width=width, opened=opened)


def _translation(bundle: Bundle, choice: Choice, opened: OpenSet, settings: Settings) -> TranslationModel:
    languages, end_id = bundle.record.languages, bundle.tokenizer.end_id
    if languages is None or end_id is None:
        raise BundleCorruptError(f"{bundle.path}: a translator has languages and a tokenizer with an end token.")
    _check_length(opened, "max_source_tokens", settings.max_source_tokens)
    golden = opened.graph_set.manifest.golden
    steps, sequences = opened.attention_steps(2 * settings.max_rows), opened.sequences()
    check_golden(
        choice.set, golden, golden_answer(bundle.task, golden.ids, bundle.record.state_width, sequences, steps)
    )
    _warm_up(steps, choice, settings.max_rows)
    return TranslationModel(**_facts(bundle, choice), languages=languages, end_id=end_id, opened=opened)


def _sentiment(bundle: Bundle, choice: Choice, opened: OpenSet, settings: Settings) -> SentimentModel:
    _check_length(opened, "max_sentiment_tokens", settings.max_sentiment_tokens)
    golden = opened.graph_set.manifest.golden
    sequences = opened.sequences()
    check_golden(choice.set, golden, golden_answer(bundle.task, golden.ids, 0, sequences))
    return SentimentModel(**_facts(bundle, choice), labels=bundle.record.labels or [], opened=opened)


def _check_length(opened: OpenSet, setting: str, longest: int) -> None:
    """Raises ConfigError where the graphs were built for shorter texts than the server admits."""
    if opened.max_length is not None and opened.max_length < longest:
        raise ConfigError(
            f"RNNSERVE_{setting.upper()} is {longest}, and the engines were built for {opened.max_length}. Lower it, "
            f"or build them for more: python -m export tensorrt BUNDLE --max-length {longest}"
        )


def _warm_up(steps: StepRunner, choice: Choice, num_rows: int) -> None:
    """Step a full batch from slot 0, which holds a state; on a GPU a batch of each size that is recorded there."""
    for size in (num_rows,) if choice.backend == CPU else buckets_up_to(num_rows):
        steps.step(np.zeros(size, np.int64), np.zeros(size, np.int64))


def _facts(bundle: Bundle, choice: Choice) -> dict[str, Any]:
    """What models of all tasks have, as arguments."""
    return {
        "name": bundle.path.parent.name,  # the folder is what the store and requests call it
        "version": int(bundle.path.name),
        "tokenizer": bundle.tokenizer,
        "precision": choice.set,
        "backend": choice.backend,
        "metrics": bundle.record.metrics,
        "bundle_sha256": bundle.record.sha256,
    }
