"""From the store to models that are ready to run, and whether they can be trusted. Which backend and graph sets a model
runs from, runtime.backends decides.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import structlog

from models.architecture import WrappedConfig
from models.bundle import Bundle
from models.errors import (
    BundleCorruptError,
    BundleError,
    BundleNotFoundError,
    ConfigError,
    RnnserveError,
    RunnerError,
)
from models.forecaster import ForecasterConfig
from models.store import Store
from runtime.backends import Backends
from runtime.buckets import buckets_up_to
from runtime.choice import Choice
from runtime.golden import check_golden, golden_answer
from runtime.opening import (
    CPU,
    OpenGraphs,
    OpenSet,
    combined,
    open_set,
    step_runner,
)
from runtime.runner import StepRunner
from server.endpoint import LoadedModel, ServerTask
from server.settings import Settings

log = structlog.get_logger()

Tasks = Mapping[str, ServerTask]  # by name


def load_models(settings: Settings, tasks: Tasks) -> list[LoadedModel]:
    """Load the models that the settings name, or the highest version of every model in the store.

    A model that was named and cannot be loaded stops the server. Of models that nobody named, one that cannot be
    loaded is left out with a sentence in the log, and the others are served.

    Raises:
        RnnserveError: a named model cannot be loaded, or none can; the message says which and why.
    """
    backends = Backends(settings.backend, settings.set, settings.threads)
    names = settings.models or tuple(Store(settings.store).names())
    loaded: dict[Path, LoadedModel] = {}  # by the bundle's folder: "name" may be what "name/2" is
    for name in names:
        try:
            path = _resolved(name, settings)
            if path not in loaded:
                loaded[path] = _load(name, path, settings, tasks, backends)
        except RnnserveError as error:
            if settings.models:
                raise
            log.error("model left out", model=name, reason=str(error))
    if not loaded:
        raise BundleNotFoundError(
            f"No model can be served from {settings.store}. Models there: {', '.join(names) or 'none'}. "
            "Train one (python -m training run RECIPE), export it (python -m export build BUNDLE), or give --store."
        )
    return list(loaded.values())


def _resolved(name: str, settings: Settings) -> Path:
    try:
        return Store(settings.store).resolve(name)
    except OSError as error:
        raise BundleCorruptError(f"Model {name} in {settings.store} cannot be read: {error}.") from error


def _load(name: str, path: Path, settings: Settings, tasks: Tasks, backends: Backends) -> LoadedModel:
    """Load what is asked for, or the best that works here. Raises RnnserveError."""
    try:
        bundle = Bundle(path)
        choices = backends.choices(bundle)
        for choice, fallback in zip(choices, [*choices[1:], None], strict=True):
            try:
                model = _load_choice(bundle, choice, settings, tasks)
            except (BundleError, ConfigError, RunnerError) as error:
                if fallback is None:
                    raise
                log.warning("graph set not used", model=name, set=str(choice), instead=str(fallback), reason=str(error))
            else:
                log.info("model loaded", model=model.id, set=choice.precision, backend=choice.backend)
                return model
    except (OSError, ValueError, RecursionError) as error:
        raise BundleCorruptError(
            f"Model {name} in {settings.store} cannot be read: {type(error).__name__}: {error}. Publish it again."
        ) from error
    raise AssertionError("the last choice either loads or raises")


def _load_choice(bundle: Bundle, choice: Choice, settings: Settings, tasks: Tasks) -> LoadedModel:
    """Open the graph sets of a choice, check their golden vectors and warm them up. Raises RnnserveError."""
    task = tasks.get(bundle.record.task)
    if task is None:
        raise ConfigError(
            f"{bundle.id} is for {bundle.record.task}, which this server does not serve. Its tasks: {', '.join(tasks)}."
        )
    if bundle.task.engine == "decode after encode" and bundle.tokenizer.end_id is None:
        raise BundleCorruptError(f"{bundle.path}: a translator's tokenizer has an end token; publish it again.")
    sets: dict[str, OpenSet] = {}
    steps: dict[str, StepRunner | None] = {}
    for name in choice.sets:
        if name not in sets:
            sets[name], steps[name] = _open_checked(bundle, choice.backend, name, settings, task)
    opened = combined(sets, choice.set_of_graphs(bundle.task)) if len(sets) > 1 else sets[choice.sets[0]]
    _warm_up(bundle, choice, opened, steps[choice.sets[-1]], settings.max_rows)  # the last group has the step
    record = bundle.record
    return LoadedModel(
        name=bundle.path.parent.name,  # the folder is what the store and requests call it
        version=int(bundle.path.name),
        task=record.task,
        own_tokenizer=None if record.tokenizer is None else bundle.tokenizer,
        precision=choice.precision,
        backend=choice.backend,
        graph_sets=choice.set_of_graphs(bundle.task),
        opened=opened,
        metrics=record.metrics,
        bundle_sha256=record.sha256,
        state_width=record.state_width,
        languages=record.languages,
        experience=bundle.experience,
        labels=tuple(record.labels or ()),
        signature=bundle.config.signature if isinstance(bundle.config, ForecasterConfig | WrappedConfig) else None,
        forecaster=bundle.config if isinstance(bundle.config, ForecasterConfig) else None,
        words=bundle.words,
        crf=bundle.crf,
    )


def _open_checked(
    bundle: Bundle, backend: str, name: str, settings: Settings, task: ServerTask
) -> tuple[OpenSet, StepRunner | None]:
    """Open one graph set whole and check its golden vector; with the runner of its step. Raises RnnserveError."""
    opened = open_set(backend, bundle, name, threads=settings.threads)
    limit = task.limit(settings)
    if opened.max_length is not None and opened.max_length < limit.tokens:
        raise ConfigError(
            f"{limit.setting} is {limit.tokens}, and the engines were built for {opened.max_length}. Lower it, or "
            f"build them for more: python -m export tensorrt BUNDLE --max-length {limit.tokens}"
        )
    steps = step_runner(opened, bundle.task, 2 * settings.max_rows)
    golden = opened.graph_set.manifest.golden
    found = golden_answer(bundle.task, golden.ids, bundle.record.state_width, opened.sequences(), steps)
    check_golden(name, golden, found)
    return opened, steps


def _warm_up(bundle: Bundle, choice: Choice, opened: OpenGraphs, steps: StepRunner | None, num_rows: int) -> None:
    """Call each graph once that reads sequences, and step a full batch from slot 0, which holds a state.

    On a GPU a batch of each size is stepped that is recorded there.
    """
    for graph in bundle.task.graphs:
        if graph.kind == "sequence" and graph.is_served:
            length = graph.max_time or graph.padding_multiple
            opened.sequences().run(graph.name, graph.random_inputs(bundle.sizes, batch=1, length=length))
    if steps is not None:
        for size in (num_rows,) if choice.backend == CPU else buckets_up_to(num_rows):
            steps.step(np.zeros(size, np.int64), np.zeros(size, np.int64))
