"""A user's module as one of our own networks, where it is one: embedding, one recurrent stack, linear head.

What a module is made of only suggests it; what decides is that our network with its weights answers as it does. Then
every graph set can be made of the bundle, int8 too, and the user's code is needed no more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from export.user_module.recurrent import KIND_OF_MODE
from export.user_module.wrap.calls import called
from export.user_module.wrap.consistency import unpadded
from export.user_module.wrap.texts import ComparedTexts
from models.cells import CellKind
from models.config import ClassifierConfig, LanguageModelConfig, PoolingKind, TaggerConfig
from models.network.classifier import Classifier
from models.network.language_model import LanguageModel
from models.network.recurrent import RecurrentStack
from models.network.tagger import FieldEmbedding, Tagger
from runtime.distance import difference

if TYPE_CHECKING:
    from export.user_module.wrap.batch import BatchModel
    from export.user_module.wrap.generation import UserLanguageModel
    from export.user_module.wrap.sentiment import UserClassifier

Native = LanguageModel | Classifier | Tagger

TOLERANCE = 1e-5  # relative to the largest magnitude of the user's row or 1
_CELLS: dict[type[nn.Module], CellKind] = {nn.LSTMCell: "lstm", nn.GRUCell: "gru"}


class NotNativeError(Exception):
    """Why a module is none of our networks, in words."""


@dataclass(frozen=True)
class _Layer:
    """One layer and direction of a stack: PyTorch's weights; biases zero where it has none."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor


@dataclass(frozen=True)
class _Parts:
    """What a module is made of, if it is embedding, stack and linear layers."""

    embedding: nn.Embedding
    kind: CellKind
    hidden_size: int
    is_bidirectional: bool
    layers: tuple[_Layer, ...]  # forward before backward
    linears: tuple[nn.Linear, ...]

    @property
    def num_layers(self) -> int:
        return len(self.layers) // (2 if self.is_bidirectional else 1)

    @property
    def sizes(self) -> dict[str, Any]:
        """What the configs of networks that read in one or two directions have in common."""
        return {
            "embedding_size": self.embedding.embedding_dim,
            "kind": self.kind,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "bidirectional": self.is_bidirectional,
        }

    def check_embedding(self, vocab_size: int) -> None:
        """Raises NotNativeError: the embedding does not have all tokens."""
        _fit(self.embedding.num_embeddings >= vocab_size, "its embedding has fewer rows than the tokenizer tokens")


def native_language_model(user: "UserLanguageModel") -> LanguageModel:
    """Our language model with the user's weights, in eval mode.

    Raises:
        NotNativeError: the module is something else; the message says what of it.
    """
    parts = _parts(user.module)
    (head,) = _linears(parts, 1)
    vocab_size = user.vocab_size
    parts.check_embedding(vocab_size)
    _fit(not parts.is_bidirectional, "its recurrent layer reads in both directions")
    _fit(head.in_features == parts.hidden_size, "the head does not read the last layer")
    _fit(head.out_features >= vocab_size, "the head gives fewer logits than the tokenizer has tokens")
    config = LanguageModelConfig(
        vocab_size=vocab_size,
        embedding_size=parts.embedding.embedding_dim,
        kind=parts.kind,
        hidden_size=parts.hidden_size,
        num_layers=parts.num_layers,
        tied_embeddings=head.weight is parts.embedding.weight,
    )
    model = LanguageModel(config)
    _copy(model.embedding, model.recurrent, parts)
    _copy_linear(model.head, head)
    error = _language_model_error(model.eval(), user)
    _fit(error <= TOLERANCE, f"with the same weights our network answers otherwise, by {error:.3g}")
    return model


def native_classifier(user: "UserClassifier") -> Classifier:
    """Our classifier with the user's weights, in eval mode.

    Raises:
        NotNativeError: as native_language_model.
    """
    parts = _parts(user.module)
    parts.check_embedding(user.facts.vocab_size)
    heads = [linear for linear in parts.linears if linear.out_features == user.num_logits]
    scores = [linear for linear in parts.linears if linear.out_features == 1 and linear not in heads[-1:]]
    _fit(bool(heads) and len(parts.linears) == 1 + len(scores), f"it has {len(parts.linears)} linear layers")
    _fit(len(scores) <= 1, "it has several linear layers of one output")
    head, width = heads[-1], parts.hidden_size * (2 if parts.is_bidirectional else 1)
    _fit(all(linear.in_features == width for linear in parts.linears), "a linear layer does not read the last layer")
    poolings: tuple[PoolingKind, ...] = ("attention",) if scores else ("last", "mean", "max")
    errors = []
    for pooling in poolings:
        config = ClassifierConfig(
            vocab_size=user.facts.vocab_size,
            **parts.sizes,
            pooling=pooling,
            num_classes=user.num_classes,
        )
        model = Classifier(config)
        _copy(model.embedding, model.recurrent, parts)
        _copy_linear(model.head, head)
        if scores:
            model.score.weight.data.copy_(scores[0].weight)  # its bias moves all scores alike, which changes nothing
        errors.append(_classifier_error(model.eval(), user))
        if errors[-1] <= TOLERANCE:
            return model
    raise NotNativeError(
        f"with the same weights our network answers otherwise with each pooling ({', '.join(poolings)}), by "
        f"{min(errors):.3g} at least"
    )


def native_tagger(user: "BatchModel") -> Tagger:
    """Our tagger with the user's weights, in eval mode.

    Raises:
        NotNativeError: as native_language_model.
    """
    parts = _parts(user.module)
    parts.check_embedding(user.facts.vocab_size)
    (head,) = _linears(parts, 1)
    _fit(
        head.in_features == parts.hidden_size * (2 if parts.is_bidirectional else 1),
        "the head does not read the last layer",
    )
    config = TaggerConfig(
        vocab_size=user.facts.vocab_size,
        **parts.sizes,
        num_classes=user.num_classes,
    )
    model = Tagger(config)
    _copy(model.embedding, model.recurrent, parts)
    _copy_linear(model.head, head)
    error = _tagger_error(model.eval(), user)
    _fit(error <= TOLERANCE, f"with the same weights our network answers otherwise, by {error:.3g}")
    return model


def _parts(module: nn.Module) -> _Parts:
    embeddings, linears = [], []
    stacks: list[tuple[CellKind, int, bool, list[_Layer]]] = []
    for name, part in module.named_modules():
        match part:
            case nn.Embedding():
                _fit(part.max_norm is None, f"embedding {name} has max_norm")
                embeddings.append(part)
            case nn.RNNBase():
                _fit(part.proj_size == 0, f"layer {name} has proj_size")
                stacks.append((KIND_OF_MODE[part.mode], part.hidden_size, part.bidirectional, list(_layers(part))))
            case nn.RNNCellBase():
                stacks.append((_kind_of_cell(part), part.hidden_size, False, [_layer(part, "", part.weight_hh)]))
            case nn.Linear():
                linears.append(part)
            case _ if list(part.parameters(recurse=False)):
                raise NotNativeError(f"{name or 'the module itself'} ({type(part).__name__}) has weights of its own")
    _fit(len(embeddings) == 1, f"it has {len(embeddings)} embeddings")
    _fit(bool(stacks), "it has no recurrent layer")
    kind, hidden_size, is_bidirectional, _ = stacks[0]
    _fit(
        all(stack[:3] == (kind, hidden_size, is_bidirectional) for stack in stacks),
        "its recurrent layers are of different kinds, widths or directions",
    )
    layers = tuple(layer for stack in stacks for layer in stack[3])
    parts = _Parts(embeddings[0], kind, hidden_size, is_bidirectional, layers, tuple(linears))
    directions = 2 if is_bidirectional else 1
    for index, layer in enumerate(layers):
        width = embeddings[0].embedding_dim if index < directions else directions * hidden_size
        _fit(layer.weight_ih.shape[1] == width, "its recurrent layers do not stand one on the other")
    return parts


def _layers(stack: nn.RNNBase) -> Iterator[_Layer]:
    for index in range(stack.num_layers):
        for suffix in ("", "_reverse")[: 2 if stack.bidirectional else 1]:
            yield _layer(stack, f"_l{index}{suffix}", getattr(stack, f"weight_hh_l{index}{suffix}"))


def _layer(part: nn.Module, suffix: str, weight_hh: Tensor) -> _Layer:
    names = (f"bias_ih{suffix}", f"bias_hh{suffix}")
    biases = [getattr(part, name, None) for name in names]
    zeros = weight_hh.new_zeros(weight_hh.shape[0])
    return _Layer(getattr(part, f"weight_ih{suffix}"), weight_hh, *(zeros if bias is None else bias for bias in biases))


def _kind_of_cell(cell: nn.RNNCellBase) -> CellKind:
    if isinstance(cell, nn.RNNCell):
        return "rnn-relu" if cell.nonlinearity == "relu" else "rnn-tanh"
    _fit(type(cell) in _CELLS, f"{type(cell).__name__} is a cell of its own")
    return _CELLS[type(cell)]


def _linears(parts: _Parts, number: int) -> tuple[nn.Linear, ...]:
    _fit(len(parts.linears) == number, f"it has {len(parts.linears)} linear layers")
    return parts.linears


@torch.no_grad()
def _copy(embedding: nn.Embedding | FieldEmbedding, recurrent: RecurrentStack, parts: _Parts) -> None:
    embedding.weight.copy_(parts.embedding.weight[: len(embedding.weight)])  # what is beyond are spare rows
    directions = 2 if parts.is_bidirectional else 1
    for index, layer in enumerate(parts.layers):
        suffix = f"_l{index // directions}" + ("_reverse" if index % directions else "")
        for field in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(recurrent.layers, field + suffix).copy_(getattr(layer, field))


@torch.no_grad()
def _copy_linear(target: nn.Linear, source: nn.Linear) -> None:
    """One logit is that of the second of two classes; the first one's is 0. Spare rows are left out."""
    bias = source.weight.new_zeros(source.out_features) if source.bias is None else source.bias
    for to, value in ((target.weight, source.weight), (target.bias, bias)):
        to.copy_(torch.cat([torch.zeros_like(value), value]) if len(value) < len(to) else value[: len(to)])


def _language_model_error(model: LanguageModel, user: "UserLanguageModel") -> float:
    """The first difference beyond the tolerance, or the largest, over two texts that are read one after the other."""
    worst = 0.0
    for ids, lengths in _sorted_texts(user, user.vocab_size):
        row, state = torch.zeros(len(ids), user.layout.size), model.recurrent.zero_state(len(ids))
        for _ in range(2):
            logits, row = called(type(user.module).__name__, user, ids, lengths, row)
            with torch.no_grad():
                expected, state = model(ids, state, lengths)
            is_valid = torch.arange(ids.shape[1]) < lengths.unsqueeze(1)
            pair = (
                (logits[is_valid], expected[is_valid])
                if user.has_positions
                else (logits, expected[torch.arange(len(ids)), lengths - 1])
            )
            worst = max(worst, _difference(*pair))
            if not worst <= TOLERANCE:
                return worst
    return worst


def _classifier_error(model: Classifier, user: "UserClassifier") -> float:
    """The first difference beyond the tolerance, or the largest."""
    worst = 0.0
    for ids, lengths in _sorted_texts(user, user.num_logits):
        with torch.no_grad():
            expected = model(ids, lengths)
        worst = max(worst, _difference(called(type(user.module).__name__, user, ids, lengths), expected))
        if not worst <= TOLERANCE:
            return worst
    return worst


def _tagger_error(model: Tagger, user: "BatchModel") -> float:
    """The first difference beyond the tolerance, or the largest."""
    worst = 0.0
    for ids, lengths in _sorted_texts(user, user.num_classes):
        with torch.no_grad():
            expected = model(ids, lengths)
        is_own = torch.arange(ids.shape[1]) < lengths.unsqueeze(1)
        found = called(type(user.module).__name__, user, ids, lengths)
        worst = max(worst, _difference(found[is_own], expected[is_own]))
        if not worst <= TOLERANCE:
            return worst
    return worst


def _sorted_texts(user: "UserLanguageModel | BatchModel", outputs_per_token: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Ids and lengths that networks are compared on, from long to short, because a module may want them so."""
    for texts in ComparedTexts(user.module, user.facts, 0, outputs_per_token):
        ids, lengths = unpadded(sorted(texts, key=len, reverse=True))
        yield torch.from_numpy(ids), torch.from_numpy(lengths).to(torch.int64)


def _difference(found: Tensor, expected: Tensor) -> float:
    """Of what logits [rows, classes] say; a module may give them normalised, with log_softmax."""
    if found.shape != expected.shape:
        return float("inf")
    found, expected = found.log_softmax(-1), expected.log_softmax(-1)
    return float(difference(expected.numpy(), found.numpy(), 1.0).max(initial=0.0))


def _fit(is_fit: bool, reason: str) -> None:
    if not is_fit:
        raise NotNativeError(reason)
