"""From the store to models that are ready to run: which to load, by which backend and graph set, and whether it can be
trusted. How graph sets are opened, runtime.opening knows.

Asked for a set or a backend, the server takes it. `auto`: what `python -m export bench` recorded on this machine, else
the GPU's backends where they are here, else the CPU's. Of the CPU's sets each group of graphs runs from the faster one,
as recorded or, where there is no record, by a short measurement. One choice holds for a model as long as it is loaded.
"""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import structlog

from models.bundle import Bundle
from models.errors import (
    BackendMissingError,
    BundleCorruptError,
    BundleError,
    BundleNotFoundError,
    ConfigError,
    RnnserveError,
    RunnerError,
)
from models.store import Store
from runtime.buckets import buckets_up_to
from runtime.choice import Choice, read_choices, whole_set
from runtime.golden import check_golden, golden_answer
from runtime.measuring import cpu_choice
from runtime.opening import (
    BACKENDS,
    CPU,
    CUDA,
    SETS,
    TENSORRT,
    OpenGraphs,
    OpenSet,
    combined,
    open_set,
    step_runner,
    why_unavailable,
)
from runtime.runner import StepRunner
from server.endpoint import LoadedModel, ServerTask
from server.settings import Settings

log = structlog.get_logger()

Tasks = Mapping[str, ServerTask]  # by name
AUTO = "auto"
# wanted -> what is tried, in this order: TensorRT gives way where it is missing, ONNX Runtime on a GPU does not
_TRIED = {AUTO: BACKENDS, TENSORRT: BACKENDS, CUDA: (CUDA,), CPU: (CPU,)}


class Backends:
    """What this server may compute on. Each backend is asked once whether it is here.

    Args:
        settings: `backend` and `set`.

    Raises:
        ConfigError: the backend that is wanted does not run the set that is wanted.
    """

    def __init__(self, settings: Settings) -> None:
        self._wanted = settings.backend
        self._set = settings.set
        self._threads = settings.threads
        if self._wanted != AUTO and self._set and self._set not in SETS[self._wanted]:
            raise ConfigError(
                f"RNNSERVE_SET (--set) is {self._set}, and RNNSERVE_BACKEND (--backend) is {self._wanted}, which runs "
                f"{' and '.join(SETS[self._wanted])}. Leave one of the two out."
            )

    def choices(self, bundle: Bundle) -> list[Choice]:
        """What the bundle can be loaded with, best first.

        Raises:
            BackendMissingError: the machine lacks what is wanted.
            BundleNotFoundError: the bundle has no graph set for what is here.
        """
        here = self._here
        if not here:
            raise BackendMissingError(self._missing[self._wanted])
        if self._set:
            runs = [name for name in here if self._set in SETS[name]]
            if not runs:
                raise BackendMissingError(self._sentence(bundle))
            return [whole_set(name, self._set, bundle.task) for name in runs]
        found = [whole_set(name, it, bundle.task) for name in here for it in SETS[name] if it in bundle.graph_sets]
        if not found:
            raise BundleNotFoundError(
                f"{bundle.path} has no graph set that this machine runs ({', '.join(self._runs)}). "
                f"Build them: python -m export build {bundle.path}"
            )
        measured = [choice for choice in read_choices(bundle) if choice.backend in here]
        if not measured and [choice.backend for choice in found[:2]] == [CPU, CPU]:
            measured = self._measured_here(bundle)
        choices = list(dict.fromkeys([*measured, *found]))
        if self._wanted == AUTO and found[0].backend in {choice.backend for choice in measured}:
            return choices
        return sorted(choices, key=lambda choice: here.index(choice.backend))  # as wanted, or not compared with the CPU

    def _measured_here(self, bundle: Bundle) -> list[Choice]:
        """The choice among the CPU's sets, measured now."""
        try:
            choice = cpu_choice(bundle, self._threads)
        except OSError as error:
            log.warning(
                "graph sets not measured",
                model=bundle.id,
                reason=f"{error}. The choice would not be kept: set RNNSERVE_CACHE to a folder that can be written.",
            )
            return []
        if choice is None:
            return []
        log.info("graph sets measured", model=bundle.id, chosen=choice.set_of_graphs(bundle.task))
        return [choice]

    @property
    def _here(self) -> list[str]:
        return [name for name in _TRIED[self._wanted] if name not in self._missing]

    @property
    def _runs(self) -> list[str]:
        return list(dict.fromkeys(it for name in self._here for it in SETS[name]))

    @cached_property
    def _missing(self) -> dict[str, str]:
        """Backend -> why it is not here; said once."""
        reasons = {name: why_unavailable(name) for name in _TRIED[self._wanted]}
        missing = {name: reason for name, reason in reasons.items() if reason is not None}
        instead = next((name for name in reasons if name not in missing), None)
        if self._wanted in missing and instead:
            log.warning("backend not here", backend=self._wanted, instead=instead, reason=missing[self._wanted])
        elif missing and instead == CPU:
            log.info("no GPU backend here", instead=CPU, reasons=list(missing.values()))
        return missing

    def _sentence(self, bundle: Bundle) -> str:
        return (
            f"RNNSERVE_SET (--set) is {self._set}, which is for GPUs; this server computes on "
            f"{' and '.join(self._here)}, which runs {' and '.join(self._runs)}. {bundle.path} has: "
            f"{', '.join(bundle.graph_sets) or 'no graph set'}. {' '.join(self._missing.values())}"
        )


def load_models(settings: Settings, tasks: Tasks) -> list[LoadedModel]:
    """Load the models that the settings name, or the highest version of every model in the store.

    A model that was named and cannot be loaded stops the server. Of models that nobody named, one that cannot be
    loaded is left out with a sentence in the log, and the others are served.

    Raises:
        RnnserveError: a named model cannot be loaded, or none can; the message says which and why.
    """
    backends = Backends(settings)
    names = settings.models or tuple(Store(settings.store).names())
    loaded: list[LoadedModel] = []
    for name in names:
        try:
            loaded.append(_load(name, settings, tasks, backends))
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


def _load(name: str, settings: Settings, tasks: Tasks, backends: Backends) -> LoadedModel:
    """Load what is asked for, or the best that works here. Raises RnnserveError."""
    try:
        bundle = Bundle(Store(settings.store).resolve(name))
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
        tokenizer=bundle.tokenizer,
        precision=choice.precision,
        backend=choice.backend,
        graph_sets=choice.set_of_graphs(bundle.task),
        opened=opened,
        metrics=record.metrics,
        bundle_sha256=record.sha256,
        state_width=record.state_width,
        languages=record.languages,
        labels=tuple(record.labels or ()),
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
