"""A session in a process of its own, for graphs that nobody has run yet: one that ends its process ends only that.

The process is kept for the next graph, because starting one costs most of a second. `python -m` of this file is the
child: it reads pickled requests of its parent on its standard input.
"""

import atexit
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from models.errors import RunnerError

Array = NDArray[Any]

_ROOT = Path(__file__).parents[2]


class ProcessEndedError(RunnerError):
    """The runtime ended its process."""


class ChildSession:
    """An ONNX file, opened in another process; a context manager.

    Args:
        path: the file; weights beside it are found by its own references.

    Raises:
        ProcessEndedError: the runtime ended the process.
        RunnerError: the runtime refuses the file.
    """

    def __init__(self, path: Path) -> None:
        self._process: subprocess.Popen[bytes] | None = _idle.pop() if _idle else _started()
        try:
            self._ask(("open", str(path)))
        except RunnerError:
            self.close()
            raise

    def run(self, outputs: Sequence[str], inputs: Mapping[str, Array]) -> list[Array]:
        """Run the graph.

        Args:
            outputs: names, in the order wanted.
            inputs: name -> array.

        Raises:
            ProcessEndedError: the runtime ended the process; this session is of no more use.
            RunnerError: the runtime refuses the inputs or fails.
        """
        found: list[Array] = self._ask(("run", list(outputs), dict(inputs)))
        return found

    def close(self) -> None:
        """Give the process back; no-op when it has ended."""
        if self._process is not None:
            _idle.append(self._process)
            self._process = None

    def __enter__(self) -> "ChildSession":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, request: tuple[Any, ...]) -> Any:
        if self._process is None:
            raise ProcessEndedError("its process has ended")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump(request, self._process.stdin, protocol=5)
            self._process.stdin.flush()
            is_answer, value = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError) as error:
            code = self._process.wait()
            _close(self._process)
            self._process = None
            raise ProcessEndedError(f"it ended its process with {_name_of(code)}") from error
        if not is_answer:
            raise RunnerError(value)
        return value


def _close(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.close()
    with suppress(BrokenPipeError):  # of a request that is still in its buffer
        process.stdin.close()


_idle: list["subprocess.Popen[bytes]"] = []


def _started() -> "subprocess.Popen[bytes]":
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH", ""))))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "runtime.onnxruntime.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what fails is said by the parent
        env={**os.environ, "PYTHONPATH": path},
    )


@atexit.register
def _end_idle() -> None:
    while _idle:
        process = _idle.pop()
        process.communicate()  # closes its input, which ends it


def _name_of(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """The child's loop, until its parent closes the pipe."""
    from runtime.onnxruntime.build import open_session  # the parent needs none of it

    session = None
    while True:
        try:
            kind, *arguments = pickle.load(requests)
        except EOFError:
            return
        answer: tuple[bool, Any]
        try:
            if kind == "open":
                session = None  # the one before, with its memory
                session = open_session(Path(arguments[0]))
                answer = (True, None)
            else:
                assert session is not None
                outputs, inputs = arguments
                answer = (True, [np.asarray(value) for value in session.run(outputs, inputs)])
        except Exception as error:  # the runtime's own exceptions have no common base but this
            answer = (False, f"{type(error).__name__}: {error}")
        pickle.dump(answer, answers, protocol=5)
        answers.flush()


if __name__ == "__main__":
    # Whatever the runtime prints must not stand among the answers.
    with os.fdopen(os.dup(1), "wb") as own_answers:
        os.dup2(2, 1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it closes the pipe
        _serve(sys.stdin.buffer, own_answers)
