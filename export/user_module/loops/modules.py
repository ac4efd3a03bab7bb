"""The methods of a module and its parts with their loops over time rewritten."""

import inspect
from types import FunctionType, MethodType

from torch import nn

from export.user_module.loops.rewrite import rewritten
from export.user_module.loops.traced import Tracing
from export.user_module.source import is_machinery


def with_loops_rewritten(module: nn.Module, tracing: Tracing) -> None:
    """Give each part of a module's tree its rewritten methods.

    Args:
        module: a copy of the user's; changed in place.
        tracing: of the trace that it is made for.
    """
    methods = [(part, name, function) for part in module.modules() for name, function in _methods(part)]
    functions = list(dict.fromkeys(function for _, _, function in methods))
    made = {function: rewritten(function, tracing) for function in functions}
    if not any(made.values()):
        return
    made = {function: made[function] or rewritten(function, tracing, is_beside=True) for function in functions}
    for part, name, function in methods:
        found = made[function]
        if found is not None:
            object.__setattr__(part, name, MethodType(found, part))


def _methods(part: nn.Module) -> list[tuple[str, FunctionType]]:
    """The user's own methods that a call on the part would find."""
    found: dict[str, FunctionType] = {}
    for kind in reversed(type(part).__mro__):
        try:
            is_users = not is_machinery(inspect.getfile(kind))
        except (TypeError, OSError):
            is_users = False
        for name, value in vars(kind).items():
            found.pop(name, None)
            if is_users and isinstance(value, FunctionType) and not is_machinery(value.__code__.co_filename):
                found[name] = value
    return [(name, value) for name, value in found.items() if name not in vars(part)]
