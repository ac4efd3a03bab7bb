"""A copy of a user's module in which every recurrent layer can be traced; the module itself stays as it is."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from export.user_module.packing import Packings
from export.user_module.recurrent import replace_forward
from export.user_module.refusals import refuse_unsupported
from models.errors import ExportError


def copied(module: nn.Module) -> nn.Module:
    """A deep copy in eval mode, on the CPU; old weight and spectral norm are plain weights in it.

    Raises:
        ExportError: it cannot be copied; the message names the attribute.
    """
    kept: dict[int, Any] = {}
    for part in module.modules():
        _keep(list(vars(part).values()), kept)
    try:
        copy_of_module = copy.deepcopy(module, kept).cpu().eval()
    except Exception as error:
        raise ExportError(
            f"{type(module).__name__} cannot be copied ({error}); it must be so that yours stays untouched. "
            f"{_culprit(module)}Keep no open files, locks or generators as attributes."
        ) from error
    for part in copy_of_module.modules():
        for hook in list(part._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(part, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(part, hook.name)
    return copy_of_module


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


def exportable(module: nn.Module, packings: Packings) -> nn.Module:
    """A copy whose nn.RNN, nn.LSTM and nn.GRU, wherever they are in the tree, name ONNX operators.

    Args:
        module: a user's module.
        packings: the packed batches of the trace that the copy is made for.

    Returns:
        The copy; to be traced inside `packings.in_place_of_kernels()`.

    Raises:
        UnsupportedModelError: a part of it cannot be exported.
    """
    refuse_unsupported(module)
    copy_of_module = copied(module)
    for name, part in list(copy_of_module.named_modules()):
        if isinstance(part, nn.RNNBase):
            replace_forward(name or "the module itself", part, packings)
    return copy_of_module
