"""A user's module from its Python file, with its weights from a file."""

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

import models.network.scan
from export.user_module.weights import load_weights
from models.errors import ExportError

_OWN_FOLDER = f"{Path(__file__).parents[1]}/"  # export
_SCAN = models.network.scan.__file__  # between a user's forward and the user's step


def load_module(reference: str, weights: Path | None, say: Callable[[str], None] = lambda _: None) -> nn.Module:
    """Make a user's module.

    Args:
        reference: FILE:NAME, such as `my_file:MyModel`; FILE is found in the current folder or on PYTHONPATH, NAME is a
            class or a function that is called without arguments and gives the module.
        weights: a file of them (export.user_module.weights), or None to keep those that the module comes with.
        say: called with what was taken off the weights' names, a line at a time.

    Returns:
        The module in eval mode.

    Raises:
        ExportError: the reference names nothing that gives a module, the user's code fails, or the weights are not
            those of the module.
    """
    file, colon, name = reference.partition(":")
    if not (file and colon and name):
        raise ExportError(f"{reference!r} is not written as FILE:NAME, for instance my_file:MyModel.")
    with _current_folder_first():
        maker = _found(_imported(file), name)
        if isinstance(maker, nn.Module):
            module = maker
        elif callable(maker):
            try:
                module = maker()
            except Exception as error:
                raise ExportError(
                    f"{reference}() failed: {described(error)}. NAME is called without arguments; wrap a class that "
                    "wants some in a function: def my_model(): return MyModel(100, 64)"
                ) from error
        else:
            raise ExportError(f"{reference} is {type(maker).__name__}; it must be a class or function of a module.")
    if not isinstance(module, nn.Module):
        raise ExportError(f"{reference}() gave {type(module).__name__}; it must give a torch.nn.Module.")
    if weights is not None:
        load_weights(module, weights, say)
    _check_finite(module)
    return module.eval()


def without_weights(reference: str) -> str:
    """What to say to a user who names no file of weights."""
    return (
        f"No --weights was given: the weights are those that {reference} comes with, which are random unless its code "
        "loads trained ones."
    )


def _check_finite(module: nn.Module) -> None:
    """Refuse weights that hold NaN or infinity; a buffer, such as a mask, may hold infinity."""
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor) or is_lazy(value) or not value.is_floating_point():
            continue
        is_weight = name in dict(module.named_parameters())
        is_bad = ~value.isfinite() if is_weight else value.isnan()
        if bool(is_bad.any()):
            raise ExportError(
                f"Weight {name} of {type(module).__name__} is not finite: {int(is_bad.sum())} of its {value.numel()} "
                "numbers are NaN or infinite, most often from a training that diverged. Take an earlier checkpoint."
            )


def described(error: BaseException, *, is_brief: bool = False) -> str:
    """An exception of the user's code in one line, with the last place in a file that is not torch's own.

    Args:
        error: the exception.
        is_brief: keep its first line only; the tracer goes on for pages.
    """
    lines = str(error).strip().splitlines() or ["no message"]
    text = " ".join((lines[0] if is_brief else " ".join(lines)).split())
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not is_machinery(frame.filename)]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text if len(text) <= 600 else text[:600] + ' ...'}{place}"


def users_place() -> str:
    """The line of the user's code that is running, as ` (my_file.py, line 3: n = lengths.max())`; "" without one."""
    for frame in reversed(traceback.extract_stack()):
        if not is_machinery(frame.filename):
            return f" ({Path(frame.filename).name}, line {frame.lineno}: {frame.line})"
    return ""


def is_machinery(filename: str) -> bool:
    """Whether a file is an installed library's, Python's or export's own, and so not where a user would look."""
    is_installed = any(part in filename for part in ("site-packages", "/lib/python3", "<frozen", "<string>"))
    return is_installed or filename.startswith(_OWN_FOLDER) or filename == _SCAN


def _imported(name: str) -> ModuleType:
    if name.endswith(".py") or "/" in name:
        raise ExportError(
            f"{name!r} is a path; write the module's import name, without .py and with dots for folders, "
            "for instance my_file:MyModel, and run in its folder or put that on PYTHONPATH."
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise ExportError(
                f"No file {name.replace('.', '/')}.py in {Path.cwd()} or on PYTHONPATH. "
                "Run in the file's folder, or put that folder on PYTHONPATH."
            ) from error
        raise ExportError(f"Importing {name} failed: {described(error)}.") from error
    except (Exception, SystemExit) as error:
        raise ExportError(f"Importing {name} failed: {described(error)}.") from error


def _found(module: ModuleType, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            own = [key for key, value in vars(module).items() if _is_maker(value, module)]
            raise ExportError(
                f"{module.__name__} ({getattr(module, '__file__', 'no file')}) has no {part}. "
                f"Classes and functions in it: {', '.join(own) or 'none'}."
            ) from error
    return found


def _is_maker(value: Any, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


@contextmanager
def _current_folder_first() -> Iterator[None]:
    """The current folder in front of the search path, as `python FILE` has its own."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        importlib.invalidate_caches()
        yield
    finally:
        sys.path.remove(folder)
