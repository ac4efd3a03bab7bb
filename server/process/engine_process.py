"""Starting an engine's process, and waiting until its model is loaded."""

import contextlib
import socket
import subprocess
import sys

from models.errors import RnnserveError, RunnerError
from server.backends import Backends
from server.loaded_model import ModelFacts
from server.loading import each_loaded, names_of
from server.process.frames import framed, messages_of
from server.process.messages import Codec
from server.settings import Settings

_PROGRAM = "server.process.child"
PATIENCE = 10.0  # seconds that an engine may take to stop, and its process to end after that


class EngineProcess:
    """A process that loads one model. Use `ready` before anything else.

    Args:
        name: the model.
        settings: the server's.

    Attributes:
        link: this end of the socket.
        pid: the process.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self._name = name
        self.link, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _PROGRAM, str(other.fileno()), name],  # the name is for whoever looks at `ps`
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is the web server's
            )
        self.pid = self._process.pid
        unsigned = settings.model_copy(update={"session_key": None, "session_dir": None})  # no business of an engine
        with contextlib.suppress(OSError):  # it has ended already: `ready` says so
            self.link.sendall(framed(Codec(None).encode((name, unsigned))))

    def ready(self) -> ModelFacts:
        """Wait until the model is loaded; what is known of it.

        Raises:
            RnnserveError: it cannot be loaded; the message says why.
        """
        for message in messages_of(self.link):
            found = Codec(None).decode(message)
            if isinstance(found, RnnserveError):
                self.close()
                raise found
            assert isinstance(found, ModelFacts)
            return found
        how = self.close()
        raise RunnerError(
            f"Model {self._name}: the process that was to load it ended with {how}. Was there memory enough? "
            "RNNSERVE_ENGINE_PROCESSES=false takes less."
        )

    def close(self, patience: float = PATIENCE) -> str:
        """Close this end, wait for the process to end, and kill it if it does not; how it ended, in words."""
        self.link.close()
        try:
            code = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"


class RemoteModel:
    """A model that is loaded in another process.

    Attributes:
        facts: what is known of it.
        process: where it is.
    """

    def __init__(self, process: EngineProcess) -> None:
        self.facts = process.ready()
        self.process = process


def load_in_processes(settings: Settings) -> list[RemoteModel]:
    """Load the models as server.loading.load_models does, each in a process of its own, all at the same time.

    Raises:
        RnnserveError: as `load_models`.
    """
    Backends(settings)  # what contradicts itself is said once, and before any process is started
    starting = {name: EngineProcess(name, settings) for name in names_of(settings)}
    try:
        return each_loaded(settings, tuple(starting), lambda name: RemoteModel(starting[name]))
    except BaseException:
        for process in starting.values():
            process.close()
        raise
