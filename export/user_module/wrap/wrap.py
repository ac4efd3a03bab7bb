"""A module trained elsewhere becomes a bundle that the server takes: our own network where it is one, else wrapped."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.build import architecture_of, build_set
from export.report import Report
from export.tasks.registry import export_of
from export.tasks.task import UserModel, WrapFacts
from export.tasks.wrapped import WrappedArchitecture
from export.user_module.inputs import InputSpec, ValueRange
from export.user_module.refusals import refuse_unsupported
from export.user_module.source import load_module, without_weights
from export.user_module.wrap.card import wrapped_card
from export.user_module.wrap.changes import reason_of
from export.user_module.wrap.consistency import NOT_COMPARED
from export.user_module.wrap.native import Native, NotNativeError
from export.user_module.wrap.options import WrapOptions
from export.user_module.wrap.refused_logits import is_padded
from export.user_module.wrap.tokenizer import start_id_of, truncation_of, wrapped_tokenizer
from models.architecture import WrappedConfig
from models.bundle import Bundle, publish
from models.digest import file_sha256
from models.errors import ConfigError, ExportError, ParityError
from models.signature import Signature
from models.store import Store
from models.tasks import SEQUENCE, task_of
from models.tokenizer import Tokenizer

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wrapped:
    """What came of it.

    Attributes:
        bundle: published.
        way: "native" or "wrapped".
        reason: why that way.
        reports: of each graph set.
    """

    bundle: Bundle
    way: str
    reason: str
    reports: tuple[Report, ...]


def wrap_model(options: WrapOptions, say: Say = lambda _: None) -> Wrapped:
    """Load, look, trace or convert, verify against the module's own forward, and publish what passes.

    Args:
        options: what the user asked for.
        say: called with what is being done, a line at a time.

    Raises:
        RnnserveError: something does not fit; the message says what. Nothing is published.
    """
    tokenizer: Tokenizer | None = None
    if options.tokenizer is not None:
        tokenizer = wrapped_tokenizer(options.tokenizer, options.task, options.end_token, options.start_token)
    module = load_module(options.reference, options.weights, say)
    refuse_unsupported(module)
    if tokenizer is None or options.tokenizer is None:
        facts = WrapFacts(inputs=options.input_specs, ranges=options.input_ranges, outputs=options.outputs)
    else:
        _check_embeddings(module, tokenizer, options.task)
        facts = _facts(tokenizer, start_id_of(tokenizer, options.tokenizer, options.start_token))
    user = export_of(options.task).user_model(module, facts)
    user_config = user.config()
    _check_labels(options, user_config, module)
    native, reason = _native(user)
    reports: list[Report] = []
    if native is not None:
        _check_guards(user)
        say(f"native: {reason}; its graphs are written from the weights")
        way, weights = "native", _arrays(dict(native.named_parameters()))

        def complete(bundle: Bundle) -> None:
            reports.extend(_native_sets(bundle, say))
    else:
        say(f"wrapped: {reason}; its graphs are traced from the module's own forward, in float32")
        way, weights = "wrapped", _arrays({**dict(module.named_parameters()), **_buffers(module)})

        def complete(bundle: Bundle) -> None:
            reports.append(_wrapped_set(bundle, user, say))

    if options.weights is None:
        say(without_weights(options.reference))
    config = native.config if native is not None else user_config
    num_parameters = sum(parameter.numel() for parameter in module.parameters())
    rows = {"state row": f"{config.state_size}"}
    if tokenizer is not None:
        rows = {"tokenizer": f"{tokenizer.kind}, {tokenizer.vocab_size} tokens", **rows}
    bundle = publish(
        Store(options.to.parent),
        options.to.name,
        config=config,
        weights=weights,
        tokenizer=tokenizer,
        card=wrapped_card(options, way, reason, num_parameters, rows),
        metrics={},
        provenance=_provenance(options, way, reason),
        languages=options.languages,
        labels=options.labels or None,
        words=options.words,
        complete=complete,
    )
    return Wrapped(bundle, way, reason, tuple(reports))


def user_model_of(bundle: Bundle, config: WrappedConfig, reference: str) -> UserModel:
    """The module of a wrapped bundle from its code, with the bundle's weights, to verify the bundle with.

    Raises:
        ExportError: the code is not that of the bundle.
    """
    module = load_module(reference, bundle.path / "weights.safetensors")
    signature = config.signature
    facts = _facts(bundle.tokenizer, config.start_id) if signature is None else _facts_of_frames(signature)
    found = export_of(config.task).user_model(module, facts)
    parts = found.config().state
    own, stored = ([f"{part.name}{part.shape}" for part in each] for each in (parts, config.state))
    if [part.shape for part in parts] != [part.shape for part in config.state]:
        raise ExportError(
            f"{reference} has the states {', '.join(own)}, the bundle {', '.join(stored)}: it is not the code that the "
            "bundle was made of."
        )
    return found


def _facts(tokenizer: Tokenizer, start_id: int | None) -> WrapFacts:
    return WrapFacts(
        vocab_size=tokenizer.vocab_size,
        end_id=tokenizer.end_id,
        start_id=start_id,
        longest=truncation_of(tokenizer),
        mark_ids=tokenizer.mark_ids,
    )


def _facts_of_frames(signature: Signature) -> WrapFacts:
    """What a model of frames was wrapped with. Where lengths stand, its forward says."""
    specs = [
        InputSpec(port.name, port.dtype, ("batch", *(("time",) if port.has_time else ()), *port.shape))
        for port in signature.inputs
    ]
    ranges = {
        port.name: ValueRange(port.low, port.high)
        for port in signature.inputs
        if port.low is not None and port.high is not None
    }
    if signature.least_frames > 1:
        ranges["time"] = ValueRange(signature.least_frames, SEQUENCE.max_length or signature.least_frames)
    return WrapFacts(inputs=tuple(specs), ranges=ranges, outputs=tuple(port.name for port in signature.outputs))


def _check_labels(options: WrapOptions, config: WrappedConfig, module: nn.Module) -> None:
    if config.num_classes is not None and config.num_classes != len(options.labels):
        raise ConfigError(
            f"--labels names {len(options.labels)} classes ({', '.join(options.labels)}), "
            f"{type(module).__name__} has {config.num_classes}. Name each, in the order of its logits."
        )


def _native(user: UserModel) -> tuple[Native | None, str]:
    """Our own network in the user's place, and why; or None, and why not."""
    name = type(user.module).__name__
    try:
        native = user.native()
    except NotNativeError as error:
        return None, f"{name} is none of our networks (one embedding, one recurrent stack, a linear head): {error}"
    return native, f"{name} is an embedding, a recurrent stack and a linear head, and answers as ours does"


def _check_guards(user: UserModel) -> None:
    """Refuse a module that is ours at the sizes that were tried and decides otherwise at others.

    Raises:
        ParityError: a branch on a size matters.
    """
    try:
        user.graphs()
    except ParityError:
        raise
    except ExportError:  # it need not be traced
        return


def _native_sets(bundle: Bundle, say: Say) -> list[Report]:
    """Build what a CPU runs; int8 only where it passes."""
    architecture = architecture_of(bundle)
    reports = []
    for name in export_of(bundle.record.task).user_sets:
        try:
            reports.append(build_set(bundle, architecture, name, _unplaced(say)))
        except ParityError as error:
            if name == "fp32":
                raise
            say(f"{name}: left out, because it is too far from PyTorch: {error}")
    return reports


def _wrapped_set(bundle: Bundle, user: UserModel, say: Say) -> Report:
    assert isinstance(bundle.config, WrappedConfig)
    try:
        report = build_set(bundle, WrappedArchitecture(bundle, bundle.config, user), "fp32", _unplaced(say))
    except ParityError as error:
        raise ParityError(f"{error} {reason_of(str(error))}".rstrip()) from error
    warnings = bundle.graph_set("fp32").manifest.notes["warnings"]
    figures = report.figures()
    for remark in user.remarks:
        say(remark)
    if NOT_COMPARED in figures:
        say(f"{figures[NOT_COMPARED]:g} batches of texts were not compared with PyTorch: those before took long.")
    others = [f"{name} ({figures[name]:g} rows)" for name in figures if name.startswith("other_bits") and figures[name]]
    if others:
        worst = max(value for name, value in figures.items() if name.startswith("worst_change"))
        causes = f" Likely because graph {'; graph '.join(warnings)}." if warnings else ""
        say(
            f"The last bits of an answer may depend on the rest of the batch: by at most {worst:.1g}, within rounding "
            f"but not nothing: {', '.join(others)}.{causes}"
        )
    return report


def _unplaced(say: Say) -> Say:
    """Without the line with where a set lies, because the bundle has no place yet."""
    return lambda line: None if "published at" in line else say(line)


def _check_embeddings(module: nn.Module, tokenizer: Tokenizer, task: str) -> None:
    """Refuse a tokenizer of another number of tokens than an embedding has rows, spare rows apart.

    A vocabulary is often padded to a multiple of 64. What is written shows by its logits whether the rest is spare; of
    what is only read the embedding is all there is to see.
    """
    kinds = (nn.Embedding, nn.EmbeddingBag)
    sizes: Sequence[int] = [part.num_embeddings for part in module.modules() if isinstance(part, kinds)]
    size, writes = tokenizer.vocab_size, task_of(task).tokenizer == "writes"
    is_spare = any(is_padded(rows, size) or (writes and rows > size) for rows in sizes)
    if sizes and size not in sizes and not is_spare:
        raise ExportError(
            f"The tokenizer has {tokenizer.vocab_size} tokens, {type(module).__name__}'s embedding "
            f"{', '.join(map(str, sizes))}. They must agree: wrap the tokenizer that the model was trained with."
        )


def _buffers(module: nn.Module) -> dict[str, torch.Tensor]:
    """What else belongs to the weights: the buffers that the module stores."""
    stored = module.state_dict()
    return {name: value for name, value in module.named_buffers() if name in stored}


def _arrays(tensors: dict[str, Any]) -> dict[str, NDArray[np.floating[Any]]]:
    return {name: tensor.detach().cpu().float().numpy() for name, tensor in tensors.items()}


def _provenance(options: WrapOptions, way: str, reason: str) -> dict[str, Any]:
    return {
        "made_by": "python -m export wrap",
        "reference": options.reference,
        "way": way,
        "reason": reason,
        "weights_sha256": None if options.weights is None else file_sha256(options.weights),
        "tokenizer_sha256": None if options.tokenizer is None else file_sha256(options.tokenizer),
        "versions": {library: version(library) for library in ("torch", "onnx", "onnxruntime", "tokenizers")},
    }
