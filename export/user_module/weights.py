"""A user's weights from a file into a module: safetensors, what torch.save writes, or a checkpoint of Lightning's.

Which kind a file is, its first bytes decide. A pickle is only read with `weights_only=True`, so no code in it runs. In
a file of torch.save the weights may lie under another key and under longer names; what is taken off is reported.
"""

import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from models.errors import ExportError

NESTED = ("state_dict", "model_state_dict", "model")  # keys under which training scripts keep a module's weights
PREFIXES = ("module.", "model.", "_orig_mod.")  # of DataParallel, of a Lightning module, of torch.compile
MOST_LISTED = 10
_COMPILED = "._orig_mod."  # in the middle of a name: a part was compiled

State = dict[str, Tensor]


def load_weights(module: nn.Module, path: Path, say: Callable[[str], None] = lambda _: None) -> None:
    """Load a file into a module; tied weights may be stored under any one of their names.

    Args:
        module: is given the weights.
        path: the file, which is only read.
        say: called with what was taken off the names, a line at a time.

    Raises:
        ExportError: there is no such file, it is of no known kind, or names or shapes differ; the message lists them.
    """
    if not path.is_file():
        raise ExportError(f"No weights at {path}. Write them: {_save_model(path.with_suffix('.safetensors'))}")
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file begins with the length of its JSON header, any number, in eight bytes.
    is_safetensors = start[8:] == b"{" and int.from_bytes(start[:8], "little") + 8 <= path.stat().st_size
    is_torch = start[:2] == b"PK" or start[:1] == b"\x80"  # torch.save's archive, or its older format, a bare pickle
    if is_torch and not is_safetensors:
        _load_torch(module, path, say)
    else:
        _load_safetensors(module, path)


def _load_safetensors(module: nn.Module, path: Path) -> None:
    try:
        with safe_open(path, "pt") as file:
            shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ExportError(
            f"{path} is not a safetensors file ({error}), nor one of torch.save. Write one: "
            f"{_save_model(_other(path, '.safetensors'))}"
        ) from error
    state = module.state_dict()
    _check_shapes(module, path, shapes)
    missing, unexpected = safetensors.torch.load_model(module, path, strict=False)
    unexpected = [name for name in unexpected if name not in state]  # the others are tied ones, stored twice
    if missing or unexpected:
        prefixed = unexpected and all(name.startswith("module.") for name in unexpected)
        cause = (
            "They were saved from DataParallel, which puts module. before every name: save_model(model.module, ...)."
            if prefixed and not any(name.startswith("module.") for name in state)
            else "Save the very module that is exported."
        )
        raise _differing(module, path, list(missing), unexpected, cause)


def _load_torch(module: nn.Module, path: Path, say: Callable[[str], None]) -> None:
    keys, state = _state_of(_read(path), path)
    own = module.state_dict(keep_vars=True)
    steps, state, left_out = _renamed(state, own)
    if keys:
        say(f"weights: taken from {'.'.join(keys)} in {path}")
    for step in steps:
        say(f"weights: {step}")
    if left_out:
        say(f"weights: not the module's, left out: {listed(left_out)}")
    _check_shapes(module, path, {name: list(tensor.shape) for name, tensor in state.items()})
    loaded = {id(own[name]) for name in state if name in own}
    missing = [name for name in own if name not in state and id(own[name]) not in loaded]  # of tied ones one is enough
    unexpected = [name for name in state if name not in own]
    if missing or unexpected:
        raise _differing(module, path, missing, unexpected, "Save the very module that is exported.")
    try:
        module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ExportError(f"Weights in {path} do not go into {type(module).__name__}: {error}") from error


def _read(path: Path) -> Any:
    """What torch.save wrote, without running code of it. Raises ExportError."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():  # by its path, torch looks at how its name ends
            warnings.simplefilter("ignore")  # a TorchScript archive is refused below
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ExportError(_refused(path, str(error))) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        if "TorchScript" in str(error):
            raise ExportError(
                f"{path} is a TorchScript archive, which holds code beside its weights. Write these alone: "
                f"torch.save(torch.jit.load('{path}').state_dict(), '{_other(path, '.pt')}')"
            ) from error
        reason = " ".join(str(error).split())[:200]
        raise ExportError(f"{path} is not a whole file of torch.save ({reason}); copy or write it again.") from error


def _refused(path: Path, message: str) -> str:
    """Why a pickle is not read, with the classes in it, and what to do."""
    try:
        names = sorted(set(torch.serialization.get_unsafe_globals_in_checkpoint(path)))
    except Exception:  # the older format, and whatever else cannot be looked into
        names = re.findall(r"GLOBAL ([\w.]+)", message)[:1]
    other = _other(path, ".pt")
    what = f"holds objects of {listed(names)}" if names else "holds more than tensors, numbers and texts"
    return (
        f"{path} {what}, and to read such objects runs code of the file, so it is refused. Either a whole module was "
        "saved, or a checkpoint has settings beside its weights. If you made the file yourself, write its weights "
        f"alone, where those classes can be imported: found = torch.load('{path}', weights_only=False); "
        "torch.save(found.state_dict() if hasattr(found, 'state_dict') else found['state_dict'], "
        f"'{other}'); then --weights {other}"
    )


def _state_of(found: Any, path: Path) -> tuple[list[str], State]:
    """The weights in what was read, and the keys under which they lie. Raises ExportError."""
    keys: list[str] = []
    while isinstance(found, Mapping):
        key = next((key for key in NESTED if isinstance(found.get(key), Mapping)), None)
        if key is None:
            break
        keys.append(key)
        found = found[key]
    if not isinstance(found, Mapping):
        raise ExportError(
            f"{path} holds {type(found).__name__}, not a dictionary of weights. Write them: "
            f"torch.save(model.state_dict(), '{_other(path, '.pt')}')"
        )
    others = [str(name) for name, value in found.items() if not isinstance(value, Tensor)]
    if others or not found:
        raise ExportError(
            f"{path} holds no weights{f' in {chr(46).join(keys)}' if keys else ''}: {listed(others) or 'nothing'} "
            f"there. They are looked for at the top and in {', '.join(NESTED)}. Write them: "
            f"torch.save(model.state_dict(), '{_other(path, '.pt')}')"
        )
    return keys, {str(name): tensor for name, tensor in found.items()}


def _renamed(state: State, own: Mapping[str, Any]) -> tuple[list[str], State, list[str]]:
    """The weights under the names that fit the module best.

    Returns:
        What was done to the names, the weights, and the names of those that are left out because they stand outside of
        the prefix under which the whole module lies.
    """
    best: tuple[list[str], State, list[str]] = ([], state, [])
    steps: list[str] = []
    outside: list[str] = []
    while True:
        if any(_COMPILED in name for name in state):
            state = {name.replace(_COMPILED, "."): tensor for name, tensor in state.items()}
            step = f"took {_COMPILED[1:]} out of the names"
        else:
            prefix = max(PREFIXES, key=lambda prefix: sum(name.startswith(prefix) for name in state))
            inside = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            if not inside:
                return best
            outside = [*outside, *(name for name in state if not name.startswith(prefix))]
            state, step = inside, f"took {prefix} off {len(inside)} names"
        steps = [*steps, step]
        if _num_fitting(state, own) > _num_fitting(best[1], own) and (not outside or not own.keys() - state.keys()):
            best = steps, state, outside


def _num_fitting(state: State, own: Mapping[str, Any]) -> int:
    return len(state.keys() & own.keys())


def _check_shapes(module: nn.Module, path: Path, shapes: Mapping[str, list[int]]) -> None:
    """Raises ExportError, which lists the weights of another shape."""
    own = {name: list(tensor.shape) for name, tensor in module.state_dict().items() if not is_lazy(tensor)}
    differing = [
        f"{name} is {shapes[name]} in the file, {own[name]} in the module"
        for name in shapes
        if name in own and shapes[name] != own[name]
    ]
    if differing:
        raise ExportError(f"Weights in {path} have other shapes than {type(module).__name__}: {listed(differing)}.")


def _differing(module: nn.Module, path: Path, missing: list[str], unexpected: list[str], cause: str) -> ExportError:
    problems = []
    if missing:
        problems.append(f"the file lacks {listed(sorted(missing))}")
    if unexpected:
        problems.append(f"the module has no {listed(sorted(unexpected))}")
    return ExportError(f"Weights in {path} are not those of {type(module).__name__}: {'; '.join(problems)}. {cause}")


def listed(names: list[str]) -> str:
    """At most ten names, and how many more there are."""
    shown = ", ".join(names[:MOST_LISTED])
    return shown if len(names) <= MOST_LISTED else f"{shown} and {len(names) - MOST_LISTED} more"


def _save_model(path: Path) -> str:
    return f"safetensors.torch.save_model(model, '{path}')"


def _other(path: Path, suffix: str) -> Path:
    """A file beside one that does not exist: advice never writes over what a user has."""
    names = [f"{path.stem}-weights", *(f"{path.stem}-weights-{number}" for number in range(2, 100))]
    return next((found for name in names if not (found := path.with_name(name + suffix)).exists()), path.with_name("w"))
