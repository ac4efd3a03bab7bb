"""The program of an engine's process: load one model, then do what the web server's process says, until it says stop.

Started by server.process.engine_process, with one end of a socket. It ends when the other end is closed, however that
came about: no engine outlives its web server. Signals are the web server's business; a terminal and some supervisors
send them to every process.
"""

import signal
import socket
import sys

from models.errors import RnnserveError
from server.engine.engine import SWITCH_INTERVAL
from server.engines import engine_of
from server.loaded_model import LoadedModel, facts_of, texts_of
from server.loading import load_model
from server.logs import configure_logs
from server.process.frames import framed, messages_of
from server.process.inbox import Inbox
from server.process.messages import Codec
from server.process.outbox import Outbox
from server.settings import Settings


def main(descriptor: int) -> int:
    """Serve at this end of the socket; the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    configure_logs()
    with socket.socket(fileno=descriptor) as link:
        name, settings = Codec(None).decode(next(messages_of(link)))  # more is said when the model is loaded
        sys.setswitchinterval(SWITCH_INTERVAL)
        try:
            model = load_model(name, settings)
        except RnnserveError as error:
            link.sendall(framed(Codec(None).encode(error)))
            return 1
        _serve(link, model, settings)
    return 0


def _serve(link: socket.socket, model: LoadedModel, settings: Settings) -> None:
    """Serve until the engine's thread ends, however that comes about: then the web server sees the stream end."""
    codec = Codec(texts_of(model))
    outbox = Outbox(lambda bulletin: link.sendall(framed(codec.encode(bulletin))), lambda: engine.gauges)
    engine = engine_of(model, settings, outbox)
    link.sendall(framed(Codec(None).encode(facts_of(model))))
    engine.start(outbox, Inbox(link, codec))
    engine.join()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
