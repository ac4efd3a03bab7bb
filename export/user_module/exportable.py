"""A copy of a user's module in which every recurrent layer can be traced; the module itself stays as it is."""

import copy

from torch import nn

from export.user_module.packing import Packings
from export.user_module.recurrent import replace_forward
from export.user_module.refusals import refuse_unsupported
from models.errors import ExportError


def copied(module: nn.Module) -> nn.Module:
    """A deep copy in eval mode, on the CPU.

    Raises:
        ExportError: it cannot be copied.
    """
    try:
        return copy.deepcopy(module).cpu().eval()
    except Exception as error:
        raise ExportError(
            f"{type(module).__name__} cannot be copied ({error}); it must be so that yours stays untouched. "
            "Keep no tensors that gradients flow through, open files or locks as attributes."
        ) from error


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
