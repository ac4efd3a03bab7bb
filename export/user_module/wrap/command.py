"""`python -m export wrap`: from what a user writes to a bundle and its reports."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from export.tasks.task import Architecture
from export.tasks.wrapped import WrappedArchitecture
from export.user_module.wrap.options import WrapOptions
from export.user_module.wrap.wrap import Wrapped, user_model_of, wrap_model
from models.architecture import WrappedConfig
from models.bundle import Bundle
from models.errors import ExportError


def wrap_to_store(
    reference: str,
    task: str,
    tokenizer: Path | None,
    to: Path,
    weights: Path | None,
    facts: Mapping[str, str | None],
    say: Callable[[str], None] = lambda _: None,
    *,
    inputs: Sequence[str] = (),
    ranges: Sequence[str] = (),
    outputs: Sequence[str] = (),
) -> Wrapped:
    """Wrap a model.

    Args:
        reference: FILE:NAME of a class or function that gives the module.
        task: the name of a registered one.
        tokenizer: a tokenizer.json; None for a task without one.
        to: STORE/NAME.
        weights: a file of safetensors or torch.save, or None for the module's own.
        facts: labels (with commas), source, target, end_token, start_token, splitter, as far as the task has them.
        say: called with what is being done, a line at a time.
        inputs: of a model of frames, NAME:DTYPE[AXIS,...] for each argument of forward, in order.
        ranges: of such inputs, NAME:LO..HI.
        outputs: names of what such a model gives.

    Returns:
        The published bundle and what verification found.

    Raises:
        RnnserveError: something does not fit; nothing is published.
    """
    labels = facts.get("labels")
    options = WrapOptions(
        reference=reference,
        task=task,
        tokenizer=tokenizer,
        to=to,
        weights=weights,
        labels=tuple(label.strip() for label in labels.split(",")) if labels else (),
        source=facts.get("source"),
        target=facts.get("target"),
        end_token=facts.get("end_token"),
        start_token=facts.get("start_token"),
        inputs=tuple(inputs),
        ranges=tuple(ranges),
        outputs=tuple(outputs),
        splitter=facts.get("splitter"),
    )
    return wrap_model(options, say)


def architecture_with_code(bundle: Bundle, reference: str) -> Architecture:
    """A wrapped bundle's architecture with the user's code, to be verified against PyTorch.

    Raises:
        ExportError: the bundle is not wrapped, or the code is not its own.
    """
    config = bundle.config
    if not isinstance(config, WrappedConfig):
        raise ExportError(
            f"{bundle.id} is a {config.architecture} of rnnserve's own, verified against PyTorch without any code; "
            "leave out --module."
        )
    return WrappedArchitecture(bundle, config, user_model_of(bundle, config, reference))
