"""Programs in processes of their own, without the seconds that PyTorch and Lightning take to load.

A process imports what the programs do and computes nothing; each program runs in a fork of it, as `python -m MODULE`
would. `python -m tests.forked` is that process: it reads one request a line and answers with the program's exit code,
negative for a signal.

A fork does not show that a program imports what it needs, so each command has one test in a process that is new.
"""

import contextlib
import json
import os
import runpy
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]
Program = Callable[..., "subprocess.CompletedProcess[str]"]
LOADED = (
    *("export.build", "export.inspection", "export.parity.texts", "export.user_module.wrap.command"),
    *("export.bench.command", "matplotlib.backends.backend_agg", "training.run", "tests.tiny_models"),
    *("onnxscript.function_libs.torch_lib.ops", "torch._dynamo", "torch.onnx._internal.exporter._core"),
)
SECONDS = 300


@dataclass(frozen=True)
class Request:
    """What to run, as what, and the files that its output and errors go to."""

    module: str
    arguments: Sequence[str]
    folder: str
    environment: dict[str, str]
    output: str
    errors: str


@contextlib.contextmanager
def forked_programs(folder: Path) -> Iterator[Program]:
    """Yields:
    program(module, *arguments, folder=..., **variables): run it to its end, with more environment variables.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # no thread before a fork
    command = [sys.executable, "-W", "error", "-m", "tests.forked"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        asked, answered = process.stdin, process.stdout
        assert asked is not None
        assert answered is not None

        def program(
            module: str, *arguments: str, folder: Path = ROOT, **variables: str
        ) -> "subprocess.CompletedProcess[str]":
            request = Request(module, arguments, str(folder), {**os.environ, **variables}, str(output), str(errors))
            asked.write(json.dumps(asdict(request)) + "\n")
            asked.flush()
            code = int(answered.readline())
            return subprocess.CompletedProcess([module, *arguments], code, output.read_text(), errors.read_text())

        output, errors = folder / "output", folder / "errors"
        yield program
        asked.close()
        assert process.wait(60) == 0


def _exit_code(request: Request) -> int:
    """Of a program run in a fork of this process."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        os._exit(_run(request))
    finally:
        os._exit(1)


def _run(request: Request) -> int:
    signal.alarm(SECONDS)
    for number, path in enumerate((os.devnull, request.output, request.errors)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644), number)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.path.insert(0, request.folder)
    sys.argv = [request.module, *request.arguments]
    code: object = 0
    try:
        runpy.run_module(request.module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


def main() -> None:
    for name in LOADED:
        import_module(name)
    for line in sys.stdin:
        print(_exit_code(Request(**json.loads(line))), flush=True)
    os._exit(0)  # at once: taking PyTorch down takes a second, and nothing is open


if __name__ == "__main__":
    main()
