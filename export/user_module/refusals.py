"""What of a user's module cannot be exported, reported by name before anything is traced, with the way round."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from export.user_module.recurrent import KIND_OF_MODE
from models.errors import UnsupportedModelError

_OWN_FORWARDS = (nn.RNN.forward, nn.LSTM.forward, nn.GRU.forward)
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
    if type(layer).forward not in _OWN_FORWARDS or "forward" in vars(layer):
        yield (
            "has a forward of its own, which would be lost: ONNX has an operator for nn.RNN, nn.LSTM and nn.GRU only; "
            "hold the layer in a module and write what is around it there"
        )
        return
    if layer.mode not in KIND_OF_MODE:
        yield f"has mode {layer.mode!r}; exportable are {', '.join(KIND_OF_MODE)}"
        return
    if layer.proj_size:
        yield (
            f"has proj_size={layer.proj_size}, which ONNX's LSTM does not know: train it without, or with an nn.Linear "
            "after the layer"
        )
        return
    if layer.num_layers < 1 or layer.hidden_size < 1 or layer.input_size < 1:
        yield (
            f"is empty (num_layers={layer.num_layers}, input_size={layer.input_size}, "
            f"hidden_size={layer.hidden_size}); each must be at least 1: leave the layer out"
        )
        return
    names = layer._flat_weights_names
    computed = [name for name in names if not isinstance(layer._parameters.get(name), nn.Parameter)]
    if computed:
        yield (
            f"computes its weights ({', '.join(computed)}; weight norm, spectral norm, weight drop): make them plain "
            "first, torch.nn.utils.parametrize.remove_parametrizations or torch.nn.utils.remove_weight_norm; of a "
            f"weight drop hold the layer alone with its weights, layer.{computed[0]} = nn.Parameter(raw.detach())"
        )
        return
    dtypes = {str(getattr(layer, name).dtype).removeprefix("torch.") for name in names} - {"float32"}
    if dtypes:
        yield f"has {', '.join(sorted(dtypes))} weights; graphs are float32: call model.float()"
