"""What an app serves, from loading to the last answer: the phases that decide whether a request may begin."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Literal, TypeVar

import structlog

from models.errors import RnnserveError
from server.endpoint import Endpoint, Registry, ServerTask
from server.errors import UnavailableError
from server.http.access import HUGGING_FACE, INFERENCE, Record
from server.http.limits import HeldBytes, Limiter
from server.loading import Tasks
from server.metrics import Metrics
from server.repository import POLL_SECONDS, STOP_SECONDS, Loader, Repository
from server.sessions.sequences import Sequences
from server.sessions.sessions import Sessions
from server.settings import Settings
from server.watch import BEAT_SECONDS, Watch

log = structlog.get_logger()

T = TypeVar("T")
Phase = Literal["loading", "ready", "draining", "failed"]
_WRITE_SECONDS = 30.0  # that sessions are given to be written
TURN_SHARE = 0.25  # of the event loop's time for what would hold it up


class Service:
    """The models of one app and its phase.

    Args:
        settings: the app's.
        load: gives the models; runs in a thread of its own, so that the app answers meanwhile.
        tasks: that are served.
    """

    def __init__(self, settings: Settings, load: Loader, tasks: Iterable[ServerTask]) -> None:
        self.settings = settings
        self.tasks: Tasks = {task.name: task for task in tasks}
        self.limiter = Limiter("The server", settings.max_requests)  # of the requests of all models together
        self.bodies = HeldBytes(settings.max_held_bytes)
        self._turn = asyncio.Lock()  # see in_turn
        self.metrics = Metrics()
        self.metrics.ready.set_function(lambda: self.phase == "ready" and self.is_alive)
        self.metrics.dead_models = lambda: self.dead_models
        self.sessions = Sessions(settings, self.metrics)
        self.sequences = Sequences(settings, self.metrics)
        self.phase: Phase = "loading"  # then ready and draining, or failed
        self.failure: str | None = None  # why loading failed, a sentence
        self.failed = asyncio.Event()  # set when it has
        self.is_stuck = False  # whether a runtime call, or loading, did not end when the server stopped
        self._ending: asyncio.Task[None] | None = None
        self._watch = Watch(time.monotonic)
        self.task_of_path: dict[str, str] = {}  # of the paths at which models of a task do their work
        self.repository = Repository(
            settings,
            self.tasks,
            load,
            self.metrics,
            limiter=self.limiter,
            sessions=self.sessions,
            sequences=self.sequences,
        )
        self._loading: asyncio.Task[None] | None = None

    @property
    def registry(self) -> Registry:
        """The models. Raises UnavailableError: they are not ready, or the server is going down."""
        self.check_ready()
        return self.repository.registry

    @property
    def is_alive(self) -> bool:
        """Whether every engine can go on."""
        return self.phase == "draining" or not self.dead_models

    @property
    def dead_models(self) -> list[str]:
        """The ids of models whose engine has ended by itself, or has been in one call for too long; not of those that
        are being unloaded, whose engines end.
        """
        most, models = self.settings.stuck_seconds, self.repository.registry.models
        return [item.id for item in models if not item.engine.is_alive or self._watch.seconds(item.id) > most]

    @property
    def num_requests(self) -> int:
        """Requests of a task that have begun and are not answered."""
        return sum(item.limiter.permits.num_taken for item in self.repository.endpoints)

    def check_ready(self) -> None:
        """Refuse work unless ready. Raises UnavailableError: loading, failed or draining."""
        if self.phase == "loading":
            raise UnavailableError(
                "The models are being loaded; try again in a moment.", code="loading", headers={"retry-after": "1"}
            )
        if self.phase == "failed":
            raise UnavailableError(f"The models could not be loaded: {self.failure}", code="load_failed")
        if self.phase == "draining":
            raise UnavailableError("The server is shutting down; send the request to another one.", code="draining")

    def check_room(self, path: str, record: Record) -> None:
        """Refuse a request before anything is done for it, where no model of its path has a permit for its client.

        Raises:
            OverloadedError: it is so.
        """
        models = self._models_of(path)
        if self.phase == "ready" and models and not any(item.limiter.has_permit(record.client) for item in models):
            record.model = models[0].id if len(models) == 1 else ""
            models[0].limiter.check(record.client)

    def _models_of(self, path: str) -> list[Endpoint]:
        """The models that may answer at a path at which models do their work."""
        if path == "/":
            named = self.repository.registry.only_of(
                [task.name for task in self.tasks.values() if task.hugging_face is not None]
            )
        elif path.startswith(HUGGING_FACE):
            named = self.repository.registry.get(path.removeprefix(HUGGING_FACE))
        elif path.startswith(f"{INFERENCE}/models/"):  # .../NAME/infer, .../NAME/versions/2/infer
            name, *rest = path.split("/")[3:]
            named = self.repository.registry.get(
                f"{name}/{rest[1]}" if rest[:1] == ["versions"] and len(rest) > 1 else name
            )
        else:
            task = self.task_of_path.get(path)
            return [item for item in self.repository.registry.models if item.model.task == task]
        return [] if named is None else [named]

    async def in_turn(self, work: Callable[[], T]) -> T:
        """The result of work that would hold up the event loop if many requests asked for it at once.

        One after the other, and of the loop's time no more than TURN_SHARE.
        """
        await self._turn.acquire()
        started = time.perf_counter()
        try:
            return work()
        finally:  # the answer goes at once, and the next waits
            rest = (time.perf_counter() - started) * (1 / TURN_SHARE - 1)
            asyncio.get_running_loop().call_later(rest, self._turn.release)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load when entered (in the background), stop the engines when left."""
        self._loading = asyncio.create_task(self._begin())
        watching = asyncio.create_task(self._keep_watch())
        try:
            yield
        finally:
            watching.cancel()
            await self.drain(grace_seconds=0)

    async def _keep_watch(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            self._watch.look({item.id: item.engine.busy_since for item in self.repository.endpoints})

    async def drain(self, grace_seconds: float) -> None:
        """Refuse new requests, and wait for the running ones for so long at most; then end those that remain.

        When it returns every request has been given its last word, and sessions are written.
        """
        self.phase = "draining"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                while self.num_requests:
                    await asyncio.sleep(POLL_SECONDS)
        if self.num_requests:
            log.warning("grace period over", requests=self.num_requests)
        await self._end()

    async def _end(self) -> None:
        """Stop what computes, then write the sessions; once, and to its end even where a second signal comes."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._stop())
        await asyncio.shield(self._ending)

    async def _stop(self) -> None:
        """Nothing here waits without a bound."""
        self.repository.close()
        loading = [task for task in (self._loading, self.repository.reading) if task is not None]
        if loading:
            _, going_on = await asyncio.wait(loading, timeout=STOP_SECONDS)
            if going_on:
                self.is_stuck = True
                log.error("loading does not end", seconds=STOP_SECONDS)
        models = self.repository.endpoints  # a lane that a call keeps is left behind, for a thread cannot be stopped
        ended = await asyncio.gather(*(asyncio.to_thread(item.engine.stop, STOP_SECONDS) for item in models))
        stuck = [item.id for item, has_ended in zip(models, ended, strict=True) if not has_ended]
        if stuck:
            self.is_stuck = True
            log.error("engine does not stop", models=stuck, seconds=STOP_SECONDS)
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await self.sessions.close()
        except TimeoutError:
            self.is_stuck = True
            log.error("sessions not written in time", seconds=_WRITE_SECONDS)

    async def _begin(self) -> None:
        """Load, and be ready or failed."""
        failure = None
        try:
            await self.repository.open()
        except RnnserveError as error:
            failure = str(error)
        except Exception as error:
            log.exception("loading failed")
            failure = f"{type(error).__name__}: {error}"
        if self.phase != "loading":  # it was stopped meanwhile
            return
        if failure is None:
            self.phase = "ready"
            log.info("ready", models=[item.id for item in self.repository.registry.models])
        else:
            self.failure, self.phase = failure, "failed"
            self.failed.set()
