"""Translation: the translator's graphs encode and step, and the proof that they answer as PyTorch does.

Against PyTorch (packed sequences), on ragged batches of sources and along whole targets: memory, keys, first state,
then logits, state and attention of every step. Among themselves: alone = in a batch, whatever the padding holds.
"""

from collections.abc import Callable
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.onnx.int8.translator import QuantizedTranslator
from export.onnx.rewrite.graph_sets import graph_set_from_traced
from export.parity.errors import Errors, decode_figures, nats, until_end
from export.parity.texts import SOURCES, ragged_texts
from export.tasks.task import TaskExport
from export.trace.reference import Translated, TranslatorReference, with_weights
from export.trace.translator import translator_graphs
from export.user_module.wrap.translation import translation_figures, user_translator
from models.bundle import Bundle
from models.config import TranslatorConfig
from models.errors import ExportError
from models.network.translator import Translator
from runtime.opening import OpenGraphs
from runtime.padding import padded
from runtime.runner import Array, AttentionStepRunner, SequenceRunner

Ids = NDArray[np.int64]
Lengths = NDArray[np.int32]
Floats = NDArray[np.float32]

NUM_TARGET_TOKENS = 24
_VERIFY_SLOTS = 64


class TranslatorArchitecture:
    """See Architecture.

    Args:
        bundle: the model.
        config: its architecture.
    """

    def __init__(self, bundle: Bundle, config: TranslatorConfig) -> None:
        self._bundle = bundle
        self._config = config
        self._model = with_weights(Translator(config), bundle)

    def graphs(self, set_name: str) -> tuple[dict[str, onnx.ModelProto], dict[str, Any]]:
        """See Architecture.graphs."""
        if set_name == "int8":
            quantized = QuantizedTranslator(self._config, self._bundle.weights())
            return quantized.graphs(), quantized.notes
        return graph_set_from_traced(set_name, self._traced), {}

    @cached_property
    def _traced(self) -> dict[str, onnx.ModelProto]:
        return translator_graphs(self._model)

    def figures(self, opened: OpenGraphs, texts: list[list[int]] | None = None) -> dict[str, float]:
        """See Architecture.figures."""
        step = opened.attention_steps(_VERIFY_SLOTS)
        reference = TranslatorReference(self._model)
        return verify_translator(opened.sequences(), step, self._config, reference, self._end_id, texts)

    def relu_states(self) -> list[NDArray[np.float32]]:
        """See Architecture.relu_states."""
        return TranslatorReference(self._model).relu_states()

    @property
    def _end_id(self) -> int:
        end_id = self._bundle.tokenizer.end_id
        if end_id is None:
            raise ExportError(f"{self._bundle.path}: a translator's tokenizer has an end token; publish it again.")
        return end_id


def verify_translator(
    runner: SequenceRunner,
    step: AttentionStepRunner,
    config: TranslatorConfig,
    reference: TranslatorReference,
    end_id: int,
    texts: list[list[int]] | None = None,
) -> dict[str, float]:
    """Measure one graph set.

    Args:
        runner: over encode.
        step: over step, with at least 33 slots.
        config: the architecture.
        reference: PyTorch's answers from the same weights.
        end_id: what a target begins and ends with.
        texts: a user's sources, token ids with <eos>, at most 33; None for random ones alone.

    Returns:
        Figures by name; what they may be is in export.parity.limits.
    """
    errors, against_whole = Errors(), Errors()
    expected_nats, found_nats, agreements = [], [], []
    batches = [*ragged_texts(config.vocab_size, 0, SOURCES), *([] if texts is None else [texts])]
    for sources in batches:
        ids, lengths = padded(sources)
        targets = reference.sample(ids, lengths, NUM_TARGET_TOKENS, seed=len(sources))
        expected = reference.translate(ids, lengths, targets)
        encoded = runner.run("encode", {"ids": ids, "lengths": lengths})
        logits, states, attention = _teacher_forced(step, encoded, lengths, targets)
        whole = reference.whole(ids, lengths, targets)
        precise = cache(partial(reference.translate, ids, lengths, targets, is_precise=True))
        is_source = np.arange(ids.shape[1]) < lengths[:, None]
        _add_errors(
            errors,
            Translated(**encoded, logits=logits, last_state=states, attention=attention),
            expected,
            precise,
            is_source,
        )
        against_whole.add(logits, whole, partial(_logits, precise))
        if texts is not None and sources is not texts:
            continue  # nats and agreement are the user's texts' own
        is_target = np.ones(targets[:, 1:].shape, np.bool_)
        expected_nats.append(nats(expected.logits[:, :-1], targets[:, 1:], is_target))
        found_nats.append(nats(logits[:, :-1], targets[:, 1:], is_target))
        agreements.append((expected.logits.argmax(-1) == logits.argmax(-1)).ravel())
    found, wanted = float(np.mean(found_nats)), float(np.mean(expected_nats))
    ids, lengths = padded(batches[-1])
    tokens, margins = reference.greedy(ids, lengths, end_id, NUM_TARGET_TOKENS)
    return {
        "rows_changed_by_batch": _batch_differences(runner, step, config),
        "rows_changed_by_padding": _padding_differences(runner, config),
        "worst_error": errors.worst,
        "mean_error": errors.mean,
        "worst_step_against_whole": against_whole.worst,
        "mean_step_against_whole": against_whole.mean,
        "argmax_agreement": float(np.concatenate(agreements).mean()),
        **decode_figures(*until_end(tokens, margins, _greedy(runner, step, ids, lengths, end_id), end_id)),
        "rise_of_nats_per_token": found / wanted - 1,
        "nats_per_token": found,
        "pytorch_nats_per_token": wanted,
    }


def _logits(translated: Callable[[], Translated]) -> Floats:
    return translated().logits


def _add_errors(
    errors: Errors,
    found: Translated,
    expected: Translated,
    precise: Callable[[], Translated],
    is_source: NDArray[np.bool_],
) -> None:
    for name in ("memory", "keys"):
        of_sources = partial(_of_sources, precise, name, is_source)
        errors.add(getattr(found, name)[is_source], getattr(expected, name)[is_source], of_sources)
    errors.add(found.state, expected.state, lambda: precise().state)
    errors.add(found.logits, expected.logits, lambda: precise().logits)
    errors.add(found.last_state, expected.last_state, lambda: precise().last_state)
    errors.add(found.attention, expected.attention, lambda: precise().attention)


def _of_sources(translated: Callable[[], Translated], name: str, is_source: NDArray[np.bool_]) -> Floats:
    rows: Floats = getattr(translated(), name)[is_source]
    return rows


def _greedy(runner: SequenceRunner, step: AttentionStepRunner, ids: Ids, lengths: Lengths, end_id: int) -> Ids:
    """The likeliest token again and again for each source, int64 [batch, NUM_TARGET_TOKENS]."""
    _put_sources(step, runner.run("encode", {"ids": ids, "lengths": lengths}), lengths)
    tokens = [np.full(len(ids), end_id)]
    parents = np.arange(len(ids))
    while len(tokens) <= NUM_TARGET_TOKENS:
        tokens.append(step.step(tokens[-1], parents).argmax(axis=1))
    return np.stack(tokens[1:], axis=1)


def _put_sources(step: AttentionStepRunner, encoded: dict[str, Array], lengths: Lengths) -> None:
    for slot, length in enumerate(lengths):
        memory = {name: encoded[name][slot, :length] for name in ("memory", "keys")}
        step.put(slot, encoded["state"][slot], memory)


def _teacher_forced(
    step: AttentionStepRunner, encoded: dict[str, Array], lengths: Lengths, targets: Ids
) -> tuple[Floats, Floats, Floats]:
    """Logits [batch, time, V] and attention [batch, time, S] of every step, and the last state [batch, D]."""
    _put_sources(step, encoded, lengths)
    parents = np.arange(len(lengths))
    logits, attention = [], []
    for tokens in targets.T:
        logits.append(step.step(np.ascontiguousarray(tokens), parents).copy())
        attention.append(step.attention.copy())
    states = np.stack([step.get(slot) for slot in range(len(lengths))])
    return np.stack(logits, axis=1), states, np.stack(attention, axis=1)


def _batch_differences(runner: SequenceRunner, step: AttentionStepRunner, config: TranslatorConfig) -> int:
    """Rows whose encoding, logits, attention or state change when they run alone, padded for themselves."""
    generator = np.random.default_rng(3)
    differing = 0
    for sources in ragged_texts(config.vocab_size, 1, SOURCES):
        ids, lengths = padded(sources)
        together = runner.run("encode", {"ids": ids, "lengths": lengths})
        targets = generator.integers(config.vocab_size, size=(len(sources), 3))
        logits, states, attention = _teacher_forced(step, together, lengths, targets)
        for row, source in enumerate(sources):
            own_ids, own_lengths = padded([source])
            alone = runner.run("encode", {"ids": own_ids, "lengths": own_lengths})
            own = _teacher_forced(step, alone, own_lengths, targets[row : row + 1])
            length = len(source)
            pairs = (
                (together["memory"][row, :length], alone["memory"][0, :length]),
                (together["keys"][row, :length], alone["keys"][0, :length]),
                (together["state"][row], alone["state"][0]),
                (logits[row], own[0][0]),
                (states[row], own[1][0]),
                (attention[row, :, :length], own[2][0, :, :length]),
            )
            differing += any(not np.array_equal(*pair) for pair in pairs)
    return differing


def _padding_differences(runner: SequenceRunner, config: TranslatorConfig) -> int:
    """Rows whose encoding changes when the ids past their length do."""
    differing = 0
    for sources in ragged_texts(config.vocab_size, 2, SOURCES):
        ids, lengths = padded(sources)
        is_source = np.arange(ids.shape[1]) < lengths[:, None]
        other = np.where(is_source, ids, config.vocab_size - 1)
        first, second = (runner.run("encode", {"ids": each, "lengths": lengths}) for each in (ids, other))
        for row, length in enumerate(lengths):
            same = [
                np.array_equal(first[name][row, :length], second[name][row, :length]) for name in ("memory", "keys")
            ]
            differing += not (all(same) and np.array_equal(first["state"][row], second["state"][row]))
    return differing


EXPORT = TaskExport("translation", user_translator, translation_figures, TranslatorArchitecture, user_sets=("fp32",))
