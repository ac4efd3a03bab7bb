"""The program of an engine's process: load one model, then do what the web server's process says, until it says stop.

Started by server.process.engine_process, with one end of a socket. It ends when the other end is closed, however that
came about: no engine outlives its web server. Signals are the web server's business; a terminal and some supervisors
send them to every process.
"""

import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any
from weakref import WeakValueDictionary

from models.errors import RnnserveError
from server.engine.engine import SWITCH_INTERVAL, Engine
from server.engine.priority import interrupt_nobody
from server.engines import engine_of
from server.errors import ApiError
from server.loaded_model import LoadedModel, facts_of, texts_of
from server.loading import load_model
from server.logs import configure_logs
from server.process.frames import framed, messages_of
from server.process.messages import Codec, Command, Verb
from server.process.outbox import Address, Outbox
from server.settings import Settings


def main(descriptor: int) -> int:
    """Serve at this end of the socket; the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    interrupt_nobody()
    configure_logs()
    with socket.socket(fileno=descriptor) as link:
        messages = messages_of(link)
        name, settings = Codec(None).decode(next(messages))
        sys.setswitchinterval(SWITCH_INTERVAL)
        try:
            model = load_model(name, settings)
        except RnnserveError as error:
            link.sendall(framed(Codec(None).encode(error)))
            return 1
        _serve(link, messages, model, settings)
    return 0


def _serve(link: socket.socket, messages: Iterator[bytes], model: LoadedModel, settings: Settings) -> None:
    codec = Codec(texts_of(model))
    outbox = Outbox(lambda bulletin: link.sendall(framed(codec.encode(bulletin))), lambda: engine.gauges)
    engine = engine_of(model, settings, outbox)
    link.sendall(framed(Codec(None).encode(facts_of(model))))
    requests: WeakValueDictionary[int, Any] = WeakValueDictionary()
    engine.start(outbox)
    threading.Thread(target=_hang_up_after, args=(engine, link), daemon=True).start()
    for message in messages:
        command: Command = codec.decode(message)
        if command.verb is Verb.STOP:
            break
        if command.verb is Verb.CANCEL:
            request = requests.get(command.number)
            if request is not None:
                engine.cancel(request)
            continue
        request = requests[command.number] = command.request
        request.mailbox = Address(command.number, request)
        try:
            engine.submit(request)
        except ApiError:  # the engine has ended
            break
    engine.stop()


def _hang_up_after(engine: Engine[Any, Any, Any], link: socket.socket) -> None:
    """However the engine's thread ends, the web server learns of it by the end of the stream."""
    engine.join()
    with contextlib.suppress(OSError):  # the other end has been closed
        link.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
