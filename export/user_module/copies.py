"""Copies of a user's module: it stays as it is, whatever is done with them."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from models.errors import ExportError


def copied(module: nn.Module) -> nn.Module:
    """A deep copy in eval mode, on the CPU; what computes a weight of weights (weight norm, spectral norm) is gone.

    Raises:
        ExportError: it cannot be copied; the message names the attribute.
    """
    try:
        copy_of_module = deep_copy(module).cpu().eval()
    except Exception as error:
        raise ExportError(
            f"{type(module).__name__} cannot be copied ({error}); it must be so that yours stays untouched. "
            f"{_culprit(module)}Keep no open files, locks or generators as attributes."
        ) from error
    with torch.no_grad():
        for part in list(copy_of_module.modules()):
            _with_plain_weights(part)
    return copy_of_module


def deep_copy(module: nn.Module) -> nn.Module:
    """As copy.deepcopy, of computed tensors the values, of functions that close over parts ones that do over theirs."""
    kept: dict[int, Any] = {}
    for part in module.modules():
        _keep(list(vars(part).values()), kept)
    with _in_eval_mode(module):
        copy_of_module = copy.deepcopy(module, kept)
    for part in copy_of_module.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, FunctionType):
                vars(part)[name] = _closed_over_copies(value, kept)
    return copy_of_module


@contextmanager
def _in_eval_mode(module: nn.Module) -> Iterator[None]:
    """While open: in training, to read a layer's weight, as copying it does, takes spectral norm a step further."""
    parts = [part for part in module.modules() if part.training]
    for part in parts:
        part.training = False
    try:
        yield
    finally:
        for part in parts:
            part.training = True


def _with_plain_weights(part: nn.Module) -> None:
    """Both generations of weight and spectral norm, and any other parametrization, as the weights that they give."""
    for hook in list(part._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(part, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(part, hook.name)
    if parametrize.is_parametrized(part):
        # torch's own removal takes the weight's property off a class that the user's module shares.
        values = {name: getattr(part, name).detach().clone() for name in part.parametrizations}  # type: ignore[union-attr]
        part.__class__ = parametrize.type_before_parametrizations(part)
        del part.parametrizations
        for name, value in values.items():
            setattr(part, name, nn.Parameter(value, requires_grad=False))


def _keep(values: Iterable[Any], kept: dict[int, Any]) -> None:
    """What deepcopy refuses: computed tensors become their values, compiled functions stay what they are."""
    for value in values:
        if isinstance(value, Tensor) and not value.is_leaf:
            kept[id(value)] = value.detach().clone()
        elif isinstance(value, torch.jit.ScriptFunction):
            kept[id(value)] = value
        elif isinstance(value, dict):
            _keep(value.values(), kept)
        elif isinstance(value, list | tuple):
            _keep(value, kept)


def _closed_over_copies(function: FunctionType, copies: dict[int, Any]) -> FunctionType:
    """A function that names copies where it named what they are of, as a forward set on a layer does."""

    def of(value: Any) -> Any:
        if isinstance(value, MethodType):
            return MethodType(value.__func__, of(value.__self__))
        if isinstance(value, FunctionType) and id(value) not in copies:
            return _closed_over_copies(value, copies)
        return copies.get(id(value), value)

    if function.__closure__ is None:
        return function
    cells = tuple(CellType() for _ in function.__closure__)
    own = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, cells)
    own.__kwdefaults__ = function.__kwdefaults__
    own.__dict__.update(function.__dict__)
    copies[id(function)] = own
    for cell, held in zip(cells, function.__closure__, strict=True):
        with suppress(ValueError):  # nothing was assigned to the name yet
            cell.cell_contents = of(held.cell_contents)
    return own


def _culprit(module: nn.Module) -> str:
    for name, part in module.named_modules():
        for attribute, value in vars(part).items():
            if attribute in ("_modules", "_parameters"):
                continue
            try:
                copy.deepcopy(value)
            except Exception:
                return f"It is {'.'.join(filter(None, (name, attribute)))}, which is {type(value).__name__}. "
    return ""
