"""The models of a server: those it has loaded, and how operators load and unload them while it runs.

Belongs to the event loop; models are read and stopped in threads. Changes come one after the other. A model that is
unloaded takes no more requests at once; those that it has are answered, within the grace period, before its engine is
stopped and its memory freed. Its sessions stay, and go on when the same model is loaded again; its sequences do not.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import structlog

from models.errors import BundleNotFoundError, ConfigError, RnnserveError
from models.store import Store
from models.tasks import task_of
from server.endpoint import Endpoint, LoadedModel, Registry
from server.errors import FieldError, ModelNotFoundError, UnavailableError, shown
from server.http.limits import Limiter
from server.loading import Tasks
from server.memory import trim_memory
from server.metrics import Metrics
from server.sessions.sequences import Sequences
from server.sessions.sessions import Sessions
from server.settings import Settings

log = structlog.get_logger()

Loader = Callable[[Settings, Tasks], Sequence[LoadedModel]]
State = Literal["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]
STOP_SECONDS = 5.0  # that a runtime call is given to end when its engine stops
POLL_SECONDS = 0.01
_BODIES_PER_PERMIT = 8  # requests may come in slowly, so many more are let in than models work on


class ModelState(NamedTuple):
    """A version of a model, in the store or loaded."""

    name: str
    version: int
    state: State
    reason: str  # why it is not ready


class Repository:
    """The models of one app.

    Args:
        settings: the app's.
        tasks: that are served.
        load: gives the models that settings name; called in a thread.
        metrics: where the models are shown.
        limiter: of the requests of all models together; its permits follow the number of models.
        sessions: of models with a state.
        sequences: likewise.

    Attributes:
        registry: the models that take requests.
        leaving: those that are being unloaded.
        reading: what reads models now, or was left to do so.
    """

    def __init__(
        self,
        settings: Settings,
        tasks: Tasks,
        load: Loader,
        metrics: Metrics,
        *,
        limiter: Limiter,
        sessions: Sessions,
        sequences: Sequences,
    ) -> None:
        self.registry = Registry([], {})
        self.leaving: list[Endpoint] = []
        self.reading: asyncio.Task[Sequence[LoadedModel]] | None = None
        self._settings = settings
        self._tasks = tasks
        self._load = load
        self._metrics = metrics
        self._limiter = limiter
        self._sessions = sessions
        self._sequences = sequences
        self._defaults = {
            task: model for task in tasks if (model := getattr(settings, f"default_{task}", None)) is not None
        }
        self._store = Store(settings.store)
        self._changes = asyncio.Lock()
        self._loading = ""  # the id of the model that is being read
        self._failures: dict[str, str] = {}  # id -> why it could not be loaded
        self._is_closed = False

    @property
    def endpoints(self) -> list[Endpoint]:
        """All models whose engines run."""
        return [*self.registry.models, *self.leaving]

    async def open(self) -> None:
        """Load the models of the settings, start their engines, and take up the sessions. Raises RnnserveError."""
        models = await self._read(self._settings)
        self._serve([*self.registry.models, *map(self._started, models)])
        for task, model in self._defaults.items():
            try:
                self.registry.find(task, model)
            except RnnserveError as error:
                raise ConfigError(f"RNNSERVE_DEFAULT_{task.upper()}: {error}") from None
        try:
            await self._sessions.open([model for model in models if _has_sessions(model)])
        except OSError as error:
            raise ConfigError(f"RNNSERVE_SESSION_DIR: {error}. Give a folder that can be written to.") from None

    async def load(self, model: str) -> None:
        """Load "name" (the highest version in the store) or "name/2"; no-op where it is loaded.

        Raises:
            ModelNotFoundError: the store has no such model; the message lists those it has.
            FieldError: it cannot be loaded; the message says why.
            UnavailableError: the server is going down.
        """
        async with self._changes:
            try:
                path = await asyncio.to_thread(self._store.resolve, model)
            except BundleNotFoundError as error:
                raise ModelNotFoundError(str(error)) from None
            found = f"{path.parent.name}/{path.name}"
            if self.registry.get(found) is not None:
                return
            self._loading = found
            try:
                models = await self._read(self._settings.model_copy(update={"models": (found,)}))
            except RnnserveError as error:
                self._failures[found] = str(error)
                raise FieldError(f"Model {found} could not be loaded: {error}") from None
            finally:
                self._loading = ""
            self._failures.pop(found, None)
            if self._is_closed:
                raise UnavailableError("The server is shutting down.", code="draining")
            for each in models:
                if _has_sessions(each):
                    self._sessions.add_model(each)
            self._serve([*self.registry.models, *map(self._started, models)])
            log.info("model added", model=found)

    async def unload(self, model: str) -> None:
        """Unload all versions of "name", or "name/2" alone; returns when they are stopped.

        Raises:
            ModelNotFoundError: no such model is loaded.
        """
        async with self._changes:
            leaving = [item for item in self.registry.models if model in (item.id, item.model.name)]
            if not leaving:
                loaded = ", ".join(item.id for item in self.registry.models) or "none"
                raise ModelNotFoundError(f"Model {shown(model)} is not loaded. Loaded models: {loaded}.")
            self.leaving = leaving
            self._serve([item for item in self.registry.models if item not in leaving])
            await _are_answered(leaving, self._settings.grace_seconds)
            ended = await asyncio.gather(*(asyncio.to_thread(item.engine.stop, STOP_SECONDS) for item in leaving))
            await _are_answered(leaving, STOP_SECONDS)  # what remained is refused
            for item, has_ended in zip(leaving, ended, strict=True):
                self._metrics.endpoints.remove(item)
                self._sessions.remove_model(item.model)
                self._sequences.forget(item.model)
                if has_ended:
                    log.info("model unloaded", model=item.id)
                else:
                    log.error("engine does not stop", models=[item.id], seconds=STOP_SECONDS)
            self.leaving = []
            leaving.clear()
            del item  # nothing refers to the models any more
            await asyncio.to_thread(trim_memory)

    async def states(self) -> list[ModelState]:
        """Every version of the models in the store, and what is loaded beside, by name and version."""
        found = {
            (name, version): ModelState(name, version, "UNAVAILABLE", "not loaded")
            for name, version in await asyncio.to_thread(self._versions)
        }
        for model, reason in self._failures.items():
            self._note(found, model, "UNAVAILABLE", reason)
        if self._loading:
            self._note(found, self._loading, "LOADING", "")
        for state, endpoints in (("UNLOADING", self.leaving), ("READY", self.registry.models)):
            for item in endpoints:
                self._note(found, item.id, state, "")  # type: ignore[arg-type]  # they are literals
        return [found[key] for key in sorted(found)]

    def close(self) -> None:
        """No model is added any more."""
        self._is_closed = True

    @staticmethod
    def _note(found: dict[tuple[str, int], ModelState], model: str, state: State, reason: str) -> None:
        name, version = model.split("/")
        found[name, int(version)] = ModelState(name, int(version), state, reason)

    def _versions(self) -> list[tuple[str, int]]:
        return [(name, version) for name in self._store.names() for version in self._store.versions(name)]

    async def _read(self, settings: Settings) -> Sequence[LoadedModel]:
        """Load models in a thread, which goes on even where the request that waits is cancelled. Raises as `load`."""
        self.reading = asyncio.create_task(asyncio.to_thread(self._load, settings, self._tasks))
        try:
            return await asyncio.shield(self.reading)
        finally:
            if self.reading.done():
                self.reading = None  # it would keep the models

    def _started(self, model: LoadedModel) -> Endpoint:
        return Endpoint(model, self._tasks[model.task], self._settings, self._metrics)

    def _serve(self, endpoints: list[Endpoint]) -> None:
        """From now on these take requests."""
        self.registry = Registry(endpoints, self._defaults)
        num_models = max(1, len(endpoints))  # a server without any can be asked to load one
        self._limiter.permits.limit = _BODIES_PER_PERMIT * self._settings.max_requests * num_models


async def _are_answered(endpoints: Sequence[Endpoint], seconds: float) -> None:
    """Wait until all requests of some models are over, or for so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while any(item.limiter.permits.num_taken for item in endpoints):
                await asyncio.sleep(POLL_SECONDS)


def _has_sessions(model: LoadedModel) -> bool:
    return task_of(model.task).session != "none" and model.state_width > 0
