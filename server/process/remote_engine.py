"""An engine in another process, as the web server sees it: what server.engine.engine.Engine is to its users."""

import asyncio
import threading
from typing import cast
from weakref import WeakKeyDictionary, WeakValueDictionary

import structlog

from models.decoding.detokenizer import TokenTexts
from server.engine.engine import Gauges, Observer
from server.engine.request import EngineRequest
from server.errors import ApiError, EngineError, UnavailableError
from server.process.engine_process import PATIENCE, EngineProcess
from server.process.frames import Frames, framed
from server.process.messages import Bulletin, Codec, Command, Verb

log = structlog.get_logger()


class RemoteEngine:
    """Speaks with an engine's process. Belongs to the event loop, `stop` excepted.

    Args:
        name: the model's, for the log.
        process: the engine's, ready.
        texts: the tokenizer's token texts, where requests refer to them.
        observer: who counts.
    """

    def __init__(self, name: str, process: EngineProcess, texts: TokenTexts | None, observer: Observer) -> None:
        self._name = name
        self._process = process
        self._codec = Codec(texts)
        self._observer = observer
        self._frames = Frames()
        self._gauges = Gauges()
        self._outgoing: list[bytes] = []  # commands that are sent at the end of this turn of the loop
        self._last_number = 0
        self._numbers: WeakKeyDictionary[EngineRequest, int] = WeakKeyDictionary()
        self._requests: WeakValueDictionary[int, EngineRequest] = WeakValueDictionary()  # by number
        self._end: ApiError | None = None  # why no more requests are taken
        self._is_stopping = False
        self._has_ended = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._transport: asyncio.WriteTransport

    async def start(self) -> None:
        """Take over the process's socket; news go to mailboxes of this loop."""
        self._loop = asyncio.get_running_loop()
        link = self._process.link
        link.setblocking(False)
        await self._loop.create_unix_connection(lambda: _Link(self), sock=link)

    @property
    def is_alive(self) -> bool:
        """Whether the engine runs."""
        return self._end is None

    @property
    def gauges(self) -> Gauges:
        """How the engine was when it last said something."""
        return self._gauges

    def submit(self, request: EngineRequest) -> None:
        """Take a request; its news will be in its mailbox.

        Raises:
            UnavailableError: the engine has been stopped.
            EngineError: the engine has ended by itself.
        """
        if self._end is not None:
            raise self._end.with_traceback(None)
        self._last_number += 1
        self._numbers[request] = self._last_number
        self._requests[self._last_number] = request
        self._send(Command(Verb.ADD, self._last_number, request))

    def cancel(self, request: EngineRequest) -> None:
        """Drop a request, finished or not: its rows are free before the next call."""
        if self._end is None and request in self._numbers:
            self._send(Command(Verb.CANCEL, self._numbers[request]))

    def stop(self) -> None:
        """End the engine and its process; from another thread than the loop's, which goes on meanwhile.

        Requests that are not finished fail with UnavailableError.
        """
        self._loop.call_soon_threadsafe(self._stop)
        has_ended = self._has_ended.wait(PATIENCE)
        self._process.close(PATIENCE if has_ended else 0)
        self._has_ended.wait()

    def _stop(self) -> None:
        self._is_stopping = True
        if self._end is None:
            self._send(Command(Verb.STOP))

    def _send(self, command: Command) -> None:
        """Send a command with the others of this turn of the loop: the engine's process is woken once for them."""
        if not self._outgoing:
            self._loop.call_soon(self._write)
        self._outgoing.append(framed(self._codec.encode(command)))

    def _write(self) -> None:
        if self._end is None:
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def _received(self, data: bytes) -> None:
        for message in self._frames.feed(data):
            bulletin: Bulletin = self._codec.decode(message)
            self._gauges = bulletin.gauges
            for name, arguments in bulletin.notes:
                getattr(self._observer, name)(*arguments)
            for letter in bulletin.letters:
                request = self._requests.get(letter.number)
                if request is not None:
                    request.heed(letter.report)
                    request.mailbox.put(letter.item)

    def _lost(self) -> None:
        """The stream has ended: so has the engine. Requests that were answered do not hear of it."""
        if self._is_stopping:
            self._end = UnavailableError("The server is shutting down; send the request again.", code="draining")
        else:
            self._end = EngineError(f"The engine of {self._name} has ended; restart the server.")
            self._loop.run_in_executor(None, self._say_how_it_ended)
        self._gauges = self._gauges._replace(num_running=0, num_waiting=0)
        for request in list(self._requests.values()):
            request.mailbox.put(self._end)
        self._has_ended.set()

    def _say_how_it_ended(self) -> None:
        log.critical("engine ended", model=self._name, pid=self._process.pid, by=self._process.close())


class _Link(asyncio.Protocol):
    """The socket's callbacks."""

    def __init__(self, engine: RemoteEngine) -> None:
        self._engine = engine

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._engine._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._engine._received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._engine._lost()
