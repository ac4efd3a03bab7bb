"""What of a user's module cannot be exported, reported by name before anything is traced, with the way round."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from models.errors import UnsupportedModelError

_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)


def refuse_unsupported(module: nn.Module) -> None:
    """Look at every part of a module's tree.

    Args:
        module: a user's module.

    Raises:
        UnsupportedModelError: listing each part that cannot be exported, by its name in the tree, why, and what to do.
    """
    found = [
        f"{name or 'the module itself'} ({type(part).__name__}) {reason}"
        for name, part in module.named_modules()
        for reason in _reasons(part)
    ]
    if found:
        raise UnsupportedModelError(f"{type(module).__name__} cannot be exported: {'; '.join(found)}.")


def _reasons(part: nn.Module) -> Iterator[str]:
    place = type(part).__module__
    if isinstance(part, torch.jit.ScriptModule):
        yield "is TorchScript, whose code PyTorch's exporter cannot follow: export the module it was made from"
        return
    if place.startswith(("torch.ao.nn", "torch.nn.quantized", "torch.nn.quantizable")):
        yield "is quantised by PyTorch: export the float module; rnnserve quantises by itself"
        return
    if hasattr(part, "_orig_mod") and place.startswith("torch._dynamo"):
        yield "is compiled by torch.compile: export the module it was made from, model._orig_mod"
        return
    if isinstance(part, _PARALLEL) and any(isinstance(inner, _RECURRENT) for inner in part.modules()):
        yield "spreads recurrent layers over devices: export what it holds, model.module"
    lazy = [name for name, parameter in part.named_parameters(recurse=False) if is_lazy(parameter)]
    if lazy:
        yield f"has weights without a shape yet ({', '.join(lazy)}): call the module once before it is exported"
    elif isinstance(part, nn.RNNBase):
        yield from _recurrent_reasons(part)


def _recurrent_reasons(layer: nn.RNNBase) -> Iterator[str]:
    if layer.num_layers < 1 or layer.hidden_size < 1 or layer.input_size < 1:
        yield (
            f"is empty (num_layers={layer.num_layers}, input_size={layer.input_size}, "
            f"hidden_size={layer.hidden_size}); each must be at least 1: leave the layer out"
        )
        return
    dtypes = {str(weight.dtype).removeprefix("torch.") for weight in layer.parameters()} - {"float32"}
    if dtypes:
        yield f"has {', '.join(sorted(dtypes))} weights; graphs are float32: call model.float()"
