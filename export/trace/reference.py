"""PyTorch's answers, which every exported graph is held against."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.trace.precise import precise
from export.trace.relu_states import relu_states
from models.bundle import Bundle
from models.network.classifier import Classifier
from models.network.forecaster import Forecaster
from models.network.language_model import LanguageModel
from models.network.tagger import Tagger
from models.network.translator import Translator

Network = TypeVar("Network", bound=nn.Module)
Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Lengths = NDArray[np.int32]


def with_weights(model: Network, bundle: Bundle) -> Network:
    """The network with the bundle's parameters, in evaluation mode. A tied parameter has one name."""
    weights = bundle.weights()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(weights[name]))
    return model.eval()


class LanguageModelReference:
    """Teacher-forced answers in numpy arrays.

    Args:
        model: the torch model.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    def score(self, ids: Ids, lengths: Lengths, state: Floats, *, is_precise: bool = False) -> tuple[Floats, Floats]:
        """Logits at every position, [batch, time, V], and the state after each row, [batch, D]; float64 if precise."""
        with torch.inference_mode(), precise(self._model, is_precise=is_precise) as model:
            given = torch.from_numpy(state).to(torch.get_default_dtype())
            logits, new_state = model(torch.from_numpy(ids), given, torch.from_numpy(lengths))
        return logits.numpy(), new_state.numpy()

    def greedy(self, prompts: Ids, num_tokens: int) -> tuple[Ids, Floats]:
        """The likeliest token again and again after prompts int64 [batch, time].

        Returns:
            tokens int64 [batch, num_tokens], and how far the second logit lay behind, float32 [batch, num_tokens].
        """
        with torch.inference_mode():
            logits, state = self._model(torch.from_numpy(prompts), self._model.recurrent.zero_state(len(prompts)))
            best = [_best_two(logits[:, -1])]
            while len(best) < num_tokens:
                logits, state = self._model(best[-1][0].unsqueeze(1), state)
                best.append(_best_two(logits[:, 0]))
        return _stacked(best)

    def sample(self, num_rows: int, num_tokens: int, seed: int) -> Ids:
        """Text that the model writes itself, int64 [num_rows, num_tokens]: what it is likely to meet when it serves."""
        generator = torch.Generator().manual_seed(seed)
        vocab_size = self._model.config.vocab_size
        token = torch.randint(vocab_size, (num_rows,), generator=generator)
        tokens = [token]
        with torch.inference_mode():
            state = self._model.recurrent.zero_state(num_rows)
            while len(tokens) < num_tokens:
                logits, state = self._model(token.unsqueeze(1), state)
                token = torch.multinomial(logits[:, 0].softmax(-1), 1, generator=generator)[:, 0]
                tokens.append(token)
        return torch.stack(tokens, dim=1).numpy()

    def relu_states(self) -> list[Floats]:
        """Of each layer its positive states while it reads its own text, float32 [any]."""
        with torch.inference_mode():
            embedded = self._model.embedding(torch.from_numpy(self.sample(8, 64, seed=2)))
        return relu_states(self._model.recurrent, embedded)


class ForecasterReference:
    """Forecasts in numpy arrays.

    Args:
        model: the torch model.
    """

    def __init__(self, model: Forecaster) -> None:
        self._model = model

    def forecast(self, inputs: Mapping[str, NDArray[Any]], *, is_precise: bool = False) -> dict[str, NDArray[Any]]:
        """What `advance` gives to its inputs: mean, quantiles and new_state by name; float64 if precise."""
        with torch.inference_mode(), precise(self._model, is_precise=is_precise) as model:
            given = {name: torch.from_numpy(array) for name, array in inputs.items()}
            floats = {
                name: value.to(torch.get_default_dtype()) if value.is_floating_point() else value
                for name, value in given.items()
            }
            mean, quantiles, state = model(**floats)
        return {"mean": mean.numpy(), "quantiles": quantiles.numpy(), "new_state": state.numpy()}


@dataclass(frozen=True)
class Translated:
    """What PyTorch computes on the way through given targets.

    Attributes:
        memory: float32 [batch, source, M].
        keys: float32 [batch, source, A].
        state: float32 [batch, D], the decoder's first.
        logits: float32 [batch, time, V].
        last_state: float32 [batch, D], after the last target.
        attention: float32 [batch, time, source].
    """

    memory: Floats
    keys: Floats
    state: Floats
    logits: Floats
    last_state: Floats
    attention: Floats


class TranslatorReference:
    """Teacher-forced answers in numpy arrays.

    Args:
        model: the torch model.
    """

    def __init__(self, model: Translator) -> None:
        self._model = model

    def translate(self, ids: Ids, lengths: Lengths, targets: Ids, *, is_precise: bool = False) -> Translated:
        """Encode, then step through targets int64 [batch, time]; float64 if precise."""
        with torch.inference_mode(), precise(self._model, is_precise=is_precise) as model:
            of_sources = torch.from_numpy(lengths)
            memory, keys, first = model.encode(torch.from_numpy(ids), of_sources)
            logits, attention, state = [], [], first
            for token in torch.from_numpy(targets).unbind(1):
                scores, state, weights = model.step(token, state, memory, keys, of_sources)
                logits.append(scores)
                attention.append(weights)
        stacked = (torch.stack(steps, dim=1).numpy() for steps in (logits, attention))
        all_logits, all_attention = stacked
        return Translated(memory.numpy(), keys.numpy(), first.numpy(), all_logits, state.numpy(), all_attention)

    def whole(self, ids: Ids, lengths: Lengths, targets: Ids) -> Floats:
        """Logits [batch, time, V] of all target positions at once, as in training."""
        with torch.inference_mode():
            arrays = (torch.from_numpy(array) for array in (ids, lengths, targets))
            logits: Floats = self._model(*arrays).numpy()
        return logits

    def greedy(self, ids: Ids, lengths: Lengths, start_id: int, num_tokens: int) -> tuple[Ids, Floats]:
        """The likeliest token again and again from start_id, for each source.

        Returns:
            tokens int64 [batch, num_tokens], and how far the second logit lay behind, float32 [batch, num_tokens].
        """
        with torch.inference_mode():
            of_sources = torch.from_numpy(lengths)
            memory, keys, state = self._model.encode(torch.from_numpy(ids), of_sources)
            token = torch.full((len(ids),), start_id)
            best: list[tuple[Tensor, Tensor]] = []
            while len(best) < num_tokens:
                logits, state, _ = self._model.step(token, state, memory, keys, of_sources)
                best.append(_best_two(logits))
                token = best[-1][0]
        return _stacked(best)

    def sample(self, ids: Ids, lengths: Lengths, num_tokens: int, seed: int) -> Ids:
        """Targets that the model writes itself, int64 [batch, num_tokens], from a random first token."""
        generator = torch.Generator().manual_seed(seed)
        with torch.inference_mode():
            of_sources = torch.from_numpy(lengths)
            memory, keys, state = self._model.encode(torch.from_numpy(ids), of_sources)
            token = torch.randint(self._model.config.vocab_size, (len(ids),), generator=generator)
            tokens = [token]
            while len(tokens) < num_tokens:
                logits, state, _ = self._model.step(token, state, memory, keys, of_sources)
                token = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
                tokens.append(token)
        return torch.stack(tokens, dim=1).numpy()

    def relu_states(self) -> list[Floats]:
        """Of each encoder and decoder layer its positive states over random tokens, float32 [any]; no vector is fed."""
        config = self._model.config
        ids = _random_ids(config.vocab_size)
        with torch.inference_mode():
            read, written = self._model.source_embedding(ids), self._model.target_embedding(ids)
            written = torch.nn.functional.pad(written, (0, config.decoder.input_size - written.shape[2]))
        return relu_states(self._model.encoder, read) + relu_states(self._model.decoder, written)


class WholeTextReference:
    """Answers of a classifier or tagger in numpy arrays.

    Args:
        model: the torch model.
        num_ids: ids that it knows.
    """

    def __init__(self, model: Classifier | Tagger, num_ids: int) -> None:
        self._model = model
        self._num_ids = num_ids

    def answer(self, ids: Ids, lengths: Lengths, *, is_precise: bool = False) -> Floats:
        """Logits, float32 [batch, C], or of a tagger [batch, time, C]; float64 if precise."""
        with torch.inference_mode(), precise(self._model, is_precise=is_precise) as model:
            logits: Floats = model(torch.from_numpy(ids), torch.from_numpy(lengths)).numpy()
        return logits

    def relu_states(self) -> list[Floats]:
        """Of each layer its positive states over random tokens, float32 [any]."""
        with torch.inference_mode():
            embedded = self._model.embedding(_random_ids(self._num_ids))
        return relu_states(self._model.recurrent, embedded)


def _random_ids(vocab_size: int) -> Tensor:
    """Eight rows of 64 tokens."""
    return torch.randint(vocab_size, (8, 64), generator=torch.Generator().manual_seed(2))


def _best_two(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest token of each row of [batch, V], and how far the second lies behind."""
    values, tokens = logits.topk(min(2, logits.shape[1]), dim=1)
    return tokens[:, 0], values[:, 0] - values[:, -1]


def _stacked(best: list[tuple[Tensor, Tensor]]) -> tuple[Ids, Floats]:
    tokens, margins = (torch.stack(column, dim=1).numpy() for column in zip(*best, strict=True))
    return tokens, margins
