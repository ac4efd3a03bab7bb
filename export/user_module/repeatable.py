"""Whether a forward answers the same when it is asked again; a graph can neither draw random numbers nor remember."""

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from export.user_module.source import is_machinery
from models.errors import UnsupportedModelError

_RANDOM = ("dropout", "rand", "bernoulli", "normal", "uniform", "multinomial", "exponential", "geometric", "poisson")


def check_repeatable(who: str, call: Callable[[], Any]) -> None:
    """Refuse a module that answers the same inputs otherwise the second time.

    Args:
        who: the user's method, for the message.
        call: calls it with inputs that are always the same; may raise what the method raises.

    Raises:
        UnsupportedModelError: it draws random numbers, or keeps something between calls; the message names the line.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        first = _tensors(call())
        with _RandomCalls() as calls:
            second = _tensors(call())
        if _same(first, second):
            return
        torch.manual_seed(0)
        call()
        once = torch.random.get_rng_state()
        torch.manual_seed(0)
        draws = not torch.equal(once, torch.random.get_rng_state()) or bool(calls.found)
    if draws:
        place = f": {calls.found[0]}" if calls.found else ""
        raise UnsupportedModelError(
            f"{who} draws random numbers{place}, so it answers the same text otherwise each time. Dropout (of weights, "
            "too, as in a weight drop) must end in eval mode: nn.Dropout, or F.dropout(x, p, training=self.training)."
        )
    raise UnsupportedModelError(
        f"{who} answers the same inputs otherwise the second time, so it keeps something on the module between calls "
        "(a state, a counter, a cache). Take it as an argument and return it."
    )


def _tensors(value: Any) -> list[Tensor]:
    return [leaf.clone() for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _same(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return len(first) == len(second) and all(
        one.shape == other.shape and bool(torch.allclose(one, other, rtol=1e-5, atol=1e-6, equal_nan=True))
        for one, other in zip(first, second, strict=True)
    )


class _RandomCalls(TorchFunctionMode):
    """Notes the user's lines that call functions of random numbers: "dropout in my_file.py, line 3 (...)"."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """See TorchFunctionMode."""
        name = getattr(func, "__name__", "")
        before = torch.random.get_rng_state() if any(part in name for part in _RANDOM) else None
        result = func(*args, **(kwargs or {}))
        if before is not None and not torch.equal(before, torch.random.get_rng_state()):
            self.found.append(f"{name}{_place()}")
        return result


def _place() -> str:
    frames = [frame for frame in traceback.extract_stack() if not is_machinery(frame.filename)]
    if not frames:
        return ""
    return f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno} ({frames[-1].line})"
