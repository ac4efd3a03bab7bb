"""`python -m server`: serve the models of a store until a signal ends it.

SIGTERM, SIGHUP or Ctrl+C: not ready at once, running requests finish within the grace period, exit code 0; 1 where
sessions could not be written. A second signal does not wait.
"""

import asyncio
import contextlib
import ctypes
import errno
import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import orjson
import structlog
import uvicorn

from models.errors import ConfigError
from runtime.device import num_cores
from server.app import create_app
from server.endpoint import LoadedModel, ServerTask
from server.http.protocol import uvicorn_config
from server.loading import load_models
from server.memory import trim_memory
from server.repository import Loader
from server.service import Service
from server.settings import PREFIX, SECRETS, Settings, settings_from
from server.terminal import TerminalRenderer
from server.watch import BEAT_SECONDS, Watch

log = structlog.get_logger()

_TRIM_SECONDS = 10.0
_M_ARENA_MAX = -8  # of glibc's malloc.h
_OTHER_DESCRIPTORS = 100  # of a process: files, queues, models that are being loaded


class _Server(uvicorn.Server):
    """Uvicorn without its own signal handling, which ends the process with the signal instead of with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `_serve`."""
        yield


class _LibraryLog(logging.Handler):
    """Lines of libraries, in the form of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one."""
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def configure_logs() -> None:
    """A line per event on stderr, as JSON, or for people when it is a terminal; warnings of libraries come through."""
    processors: list[Any] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    if sys.stderr.isatty():
        processors += [structlog.processors.format_exc_info, TerminalRenderer()]
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_LibraryLog()])
    logging.captureWarnings(True)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what is not HTTP is counted, not logged line by line


def _json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()


def main(arguments: Sequence[str], load: Loader = load_models, program: str = "python -m server") -> int:
    """Run the program with these arguments; the exit code. `program` is what messages call it."""
    try:
        settings = settings_from(arguments, program)
    except ConfigError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    for name in SECRETS:  # not for programs that libraries start
        os.environ.pop(f"{PREFIX}{name.upper()}", None)
    configure_logs()
    _share_arenas()
    app = create_app(settings, partial(_load_for_good, load))
    config = uvicorn_config(app, settings, app.state.service.metrics)
    _raise_descriptor_limit(settings.max_connections)
    try:
        listening = _listening_socket(settings.host, settings.port)
    except OSError as error:
        log.error("cannot listen", host=settings.host, port=settings.port, reason=_why_not(error, settings.port))
        return 1
    host, port = listening.getsockname()[:2]
    log.info("listening", url=f"http://{f'[{host}]' if ':' in host else host}:{port}")
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        return runner.run(_serve(_Server(config), app.state.service, listening))


def _listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OSError."""
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def _why_not(error: OSError, port: int) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"{error.strerror or error}. Choose an address of this machine (--host) and a port that it may use."
    return f"Another program has port {port}. Choose another: make demo PORT=N, --port N or RNNSERVE_PORT=N."


def _raise_descriptor_limit(max_connections: int) -> None:
    """Let this process open as many descriptors as connections need, or say that the system does not allow it."""
    wanted = max_connections + _OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    if hard < wanted:
        log.warning("too few descriptors", allowed=hard, wanted=wanted, setting="RNNSERVE_MAX_CONNECTIONS")


def _load_for_good(load: Loader, settings: Settings, tasks: Mapping[str, ServerTask]) -> Sequence[LoadedModel]:
    """Load, and let the garbage collector pass over what is there: most of it lives as long as the process.

    Once: models that are loaded later do not hold up requests for that.
    """
    models = load(settings, tasks)
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()
    return models


async def _serve(server: _Server, service: Service, listening: socket.socket) -> int:
    """Serve until a signal comes or loading fails; the exit code."""
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores it
            loop.add_signal_handler(number, signals.put_nowait, number)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    trimming = asyncio.create_task(_trim_memory())
    watched = loop, service.settings.stuck_seconds
    threading.Thread(target=_watch_loop, args=watched, name="watch", daemon=True).start()
    exit_code = 0
    first = await _first(serving, service.failed.wait(), signals.get(), _dead(service))
    if first == 1:
        log.error("cannot serve", reason=service.failure)
        exit_code = 1
    elif not serving.done():
        if first == 3:
            log.critical("engine dead", models=service.dead_models)
            exit_code = 1
        log.info("draining", requests=service.num_requests)
        if await _first(serving, service.drain(service.settings.grace_seconds), signals.get()) == 2:
            await service.drain(grace_seconds=0)
    trimming.cancel()
    server.should_exit = True
    await serving
    log.info("stopped")
    if service.sessions.num_lost:
        exit_code = 1
    if service.is_stuck:  # a thread that never returns would keep the interpreter from ending
        sys.stderr.flush()
        os._exit(1)
    return exit_code


def _share_arenas() -> None:
    """Let threads share the arenas of glibc's allocator, of which there are one more than cores.

    Else each would have its own, whose free end `malloc_trim` leaves alone: up to 7 MB a thread after long prompts.
    With one for all, lanes wait for each other: a tenth to a fifth fewer short texts and translations a second.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, num_cores() + 1)


async def _trim_memory() -> None:
    """Give memory that requests have freed back to the system, now and then."""
    while True:
        await asyncio.sleep(_TRIM_SECONDS)
        await asyncio.to_thread(trim_memory)


def _watch_loop(loop: asyncio.AbstractEventLoop, most_seconds: float) -> None:
    """End the process if the event loop does not go on: no request and no probe would be answered, and no signal."""
    watch, since = Watch(time.monotonic), 0.0

    def beat() -> None:
        nonlocal since
        since = 0.0

    with contextlib.suppress(RuntimeError):  # the loop is closed
        while watch.seconds("loop") <= most_seconds:
            if not since:
                since = time.monotonic()
                loop.call_soon_threadsafe(beat)
            time.sleep(BEAT_SECONDS)
            watch.look({"loop": since})
        log.critical("event loop dead", seconds=most_seconds)
        sys.stderr.flush()
        os._exit(1)


async def _dead(service: Service) -> None:
    """Wait until an engine cannot go on: nothing but a new process helps."""
    while service.is_alive:
        await asyncio.sleep(BEAT_SECONDS)


async def _first(serving: asyncio.Task[None], *others: Coroutine[Any, Any, Any]) -> int:
    """Wait until one has ended; its place, `serving` being 0. The others of `others` are cancelled."""
    tasks = [asyncio.create_task(other) for other in others]
    await asyncio.wait([serving, *tasks], return_when=asyncio.FIRST_COMPLETED)
    ended = next(i for i, task in enumerate([serving, *tasks]) if task.done())
    for task in tasks:
        task.cancel()
    return ended


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
