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
from export.tasks.wrapped import UserModel, WrappedArchitecture
from export.user_module.refusals import refuse_unsupported
from export.user_module.source import load_module, without_weights
from export.user_module.wrap.card import wrapped_card
from export.user_module.wrap.changes import reason_of
from export.user_module.wrap.classifier import UserClassifier, user_classifier
from export.user_module.wrap.language_model import UserLanguageModel, user_language_model
from export.user_module.wrap.native import NotNativeError, native_classifier, native_language_model
from export.user_module.wrap.options import WrapOptions
from export.user_module.wrap.tokenizer import start_id_of, truncation_of, wrapped_tokenizer
from export.user_module.wrap.translator import UserTranslator, user_translator
from models.architecture import WrappedConfig
from models.bundle import Bundle, publish
from models.digest import file_sha256
from models.errors import ConfigError, ExportError, ParityError
from models.network.classifier import Classifier
from models.network.language_model import LanguageModel
from models.store import Store
from models.tokenizer import Tokenizer

Say = Callable[[str], None]
Native = LanguageModel | Classifier

_NATIVE_SETS = ("fp32", "int8")


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
        say: told what is being done, a line at a time.

    Raises:
        RnnserveError: something does not fit; the message says what. Nothing is published.
    """
    tokenizer = wrapped_tokenizer(options.tokenizer, options.task, options.end_token, options.start_token)
    module = load_module(options.reference, options.weights)
    refuse_unsupported(module)
    _check_embeddings(module, tokenizer)
    start_id = start_id_of(tokenizer, options.tokenizer, options.start_token)
    user = _user_model(module, options, tokenizer, start_id)
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
    config = native.config if native is not None else _wrapped_config(options, user, tokenizer.vocab_size, start_id)
    num_parameters = sum(parameter.numel() for parameter in module.parameters())
    facts = {"tokenizer": f"{tokenizer.kind}, {tokenizer.vocab_size} tokens", "state row": f"{config.state_size}"}
    bundle = publish(
        Store(options.to.parent),
        options.to.name,
        config=config,
        weights=weights,
        tokenizer=tokenizer,
        card=wrapped_card(options, way, reason, num_parameters, facts),
        metrics={},
        provenance=_provenance(options, way, reason),
        languages=options.languages,
        labels=options.labels or None,
        complete=complete,
    )
    return Wrapped(bundle, way, reason, tuple(reports))


def user_model_of(bundle: Bundle, config: WrappedConfig, reference: str) -> UserModel:
    """The module of a wrapped bundle from its code, with the bundle's weights, to verify the bundle with.

    Raises:
        ExportError: the code is not that of the bundle.
    """
    module = load_module(reference, bundle.path / "weights.safetensors")
    options = (module, config.vocab_size)
    match config.task:
        case "generation":
            found: UserLanguageModel | UserTranslator = user_language_model(*options)
        case "sentiment":
            return user_classifier(*options, truncation_of(bundle.tokenizer))
        case "translation":
            found = user_translator(*options, _end_id(bundle.tokenizer), config.start_id)
    own, stored = ([f"{part.name}{part.shape}" for part in parts] for parts in (found.layout.parts, config.state))
    if [part.shape for part in found.layout.parts] != [part.shape for part in config.state]:
        raise ExportError(
            f"{reference} has the states {', '.join(own)}, the bundle {', '.join(stored)}: it is not the code that the "
            "bundle was made of."
        )
    return found


def _user_model(module: nn.Module, options: WrapOptions, tokenizer: Tokenizer, start_id: int | None) -> UserModel:
    match options.task:
        case "generation":
            return user_language_model(module, tokenizer.vocab_size)
        case "translation":
            return user_translator(module, tokenizer.vocab_size, _end_id(tokenizer), start_id)
        case "sentiment":
            user = user_classifier(module, tokenizer.vocab_size, truncation_of(tokenizer))
            if user.num_classes != len(options.labels):
                raise ConfigError(
                    f"--labels names {len(options.labels)} classes ({', '.join(options.labels)}), "
                    f"{type(module).__name__} has {user.num_classes}. Name each, in the order of its logits."
                )
            return user


def _native(user: UserModel) -> tuple[Native | None, str]:
    """Our own network in the user's place, and why; or None, and why not."""
    name = type(user.module).__name__
    try:
        match user:
            case UserLanguageModel():
                native: Native = native_language_model(user)
            case UserClassifier():
                native = native_classifier(user)
            case UserTranslator():
                return None, "a translator is always wrapped"
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
    for name in _NATIVE_SETS:
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
    others = [f"{name} ({figures[name]:g} rows)" for name in figures if name.startswith("other_bits") and figures[name]]
    if others:
        worst = max(value for name, value in figures.items() if name.startswith("worst_change"))
        causes = f" Likely because graph {'; graph '.join(warnings)}." if warnings else ""
        say(
            f"The last bits of an answer may depend on its neighbours: by at most {worst:.1g}, within rounding "
            f"but not nothing: {', '.join(others)}.{causes}"
        )
    return report


def _unplaced(say: Say) -> Say:
    """Without the line that tells where a set lies, because the bundle has no place yet."""
    return lambda line: None if "published at" in line else say(line)


def _wrapped_config(options: WrapOptions, user: UserModel, vocab_size: int, start_id: int | None) -> WrappedConfig:
    match user:
        case UserLanguageModel():
            return WrappedConfig(task=options.task, vocab_size=vocab_size, state=list(user.layout.parts))
        case UserTranslator():
            return WrappedConfig(
                task=options.task,
                vocab_size=vocab_size,
                state=list(user.layout.parts),
                memory_width=user.memory_width,
                keys_width=user.keys_width,
                start_id=start_id,
            )
        case UserClassifier():
            return WrappedConfig(task=options.task, vocab_size=vocab_size, state=[], num_classes=user.num_classes)


def _check_embeddings(module: nn.Module, tokenizer: Tokenizer) -> None:
    sizes: Sequence[int] = [part.num_embeddings for part in module.modules() if isinstance(part, nn.Embedding)]
    if sizes and tokenizer.vocab_size not in sizes:
        raise ExportError(
            f"The tokenizer has {tokenizer.vocab_size} tokens, {type(module).__name__}'s embedding "
            f"{', '.join(map(str, sizes))}. They must agree: wrap the tokenizer that the model was trained with."
        )


def _end_id(tokenizer: Tokenizer) -> int:
    if tokenizer.end_id is None:
        raise ExportError(f"A translator's tokenizer has an end token; this one has no {tokenizer.end_token!r}.")
    return tokenizer.end_id


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
        "tokenizer_sha256": file_sha256(options.tokenizer),
        "versions": {library: version(library) for library in ("torch", "onnx", "onnxruntime", "tokenizers")},
    }
