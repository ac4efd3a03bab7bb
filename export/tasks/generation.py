"""Generation: the language model's graphs advance, step and score, and the proof that they answer as PyTorch does.

Against PyTorch (packed sequences), on ragged batches of many shapes, from states that real text leads to. Among
themselves, to the bit: one piece = chunks = single steps, alone = in a batch, whatever the padding holds.
"""

from collections.abc import Iterator
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.onnx.int8.language_model import QuantizedLanguageModel
from export.onnx.rewrite.graph_sets import graph_set_from_traced
from export.parity.errors import Errors, decode_figures, nats
from export.tasks.task import TaskExport
from export.trace.language_model import language_model_graphs
from export.trace.reference import LanguageModelReference, with_weights
from export.user_module.wrap.generation import generation_figures, user_language_model
from models.bundle import Bundle
from models.config import LanguageModelConfig
from models.network.language_model import LanguageModel
from runtime.opening import OpenGraphs
from runtime.runner import Array, SequenceRunner, StepRunner

Ids = NDArray[np.int64]
Lengths = NDArray[np.int32]
Floats = NDArray[np.float32]

SHAPES = ((1, 1), (1, 7), (2, 2), (5, 7), (5, 64), (33, 3))  # batch, time
CHUNK_SIZES = (1, 7, 16)
NUM_TEXT_ROWS = 16  # of text that the model writes itself
NUM_TEXT_TOKENS = 160
NUM_DECODES = 8  # rows of the text whose beginning is continued, the likeliest token each time
NUM_PROMPT_TOKENS = 16
NUM_DECODED_TOKENS = 48


_VERIFY_SLOTS = 128


def ragged_batches(config: LanguageModelConfig, seed: int = 0) -> Iterator[tuple[Ids, Lengths]]:
    """Random ids and lengths of every shape in SHAPES: ragged, full, and all of length one."""
    generator = np.random.default_rng(seed)
    for batch, time in SHAPES:
        ids = generator.integers(config.vocab_size, size=(batch, time))
        lengths = generator.integers(1, time + 1, size=batch).astype(np.int32)
        lengths[generator.integers(batch)] = time
        yield ids, lengths
        yield ids, np.full(batch, time, np.int32)
        yield ids, np.ones(batch, np.int32)


class LanguageModelArchitecture:
    """See Architecture.

    Args:
        bundle: the model.
        config: its architecture.
    """

    def __init__(self, bundle: Bundle, config: LanguageModelConfig) -> None:
        self._bundle = bundle
        self._config = config
        self._model = with_weights(LanguageModel(config), bundle)

    def graphs(self, set_name: str) -> tuple[dict[str, onnx.ModelProto], dict[str, Any]]:
        """See Architecture.graphs."""
        if set_name == "int8":
            quantized = QuantizedLanguageModel(self._config, self._bundle.weights())
            return quantized.graphs(), quantized.notes
        return graph_set_from_traced(set_name, self._traced), {}

    @cached_property
    def _traced(self) -> dict[str, onnx.ModelProto]:
        return language_model_graphs(self._model)

    def figures(self, opened: OpenGraphs, texts: list[list[int]] | None = None) -> dict[str, float]:
        """See Architecture.figures."""
        step = opened.steps(_VERIFY_SLOTS)
        text = self._own_text if texts is None else np.array(texts, np.int64)
        return verify_language_model(opened.sequences(), step, self._config, LanguageModelReference(self._model), text)

    @cached_property
    def _own_text(self) -> NDArray[np.int64]:
        """What the model writes itself, for all sets: int64 [16, 160]."""
        return LanguageModelReference(self._model).sample(NUM_TEXT_ROWS, NUM_TEXT_TOKENS, seed=1)

    def relu_states(self) -> list[NDArray[np.float32]]:
        """See Architecture.relu_states."""
        return LanguageModelReference(self._model).relu_states()


def verify_language_model(
    runner: SequenceRunner,
    step: StepRunner,
    config: LanguageModelConfig,
    reference: LanguageModelReference,
    text: Ids,
) -> dict[str, float]:
    """Measure one graph set.

    Args:
        runner: over advance and score.
        step: over step, with at least 2 x 33 slots.
        config: the architecture.
        reference: PyTorch's answers from the same weights.
        text: int64 [rows, time], a user's, or what the model writes itself.

    Returns:
        Figures by name; what they may be is in export.parity.limits.
    """
    parted, against_whole = _split_differences(runner, step, config)
    errors = _errors(runner, config, reference)
    expected_logits, found_logits = _text_logits(text, runner, reference, config)
    expected, found = (_nats(logits, text) for logits in (expected_logits, found_logits))
    errors.add(found_logits, expected_logits, lambda: _pytorch_logits(text, reference, config, is_precise=True))
    prompts = np.ascontiguousarray(text[:NUM_DECODES, :NUM_PROMPT_TOKENS])
    tokens, margins = reference.greedy(prompts, NUM_DECODED_TOKENS)
    return {
        "rows_changed_by_chunks_or_steps": parted,
        "rows_changed_by_batch": _batch_differences(runner, config),
        "rows_changed_by_padding": _padding_differences(runner, config),
        "worst_error": errors.worst,
        "mean_error": errors.mean,
        "worst_step_against_whole": against_whole.worst,
        "mean_step_against_whole": against_whole.mean,
        "argmax_agreement": float((expected_logits.argmax(-1) == found_logits.argmax(-1)).mean()),
        **decode_figures(tokens, margins, _greedy(runner, step, prompts, config)),
        "rise_of_nats_per_token": found / expected - 1,
        "nats_per_token": found,
        "pytorch_nats_per_token": expected,
    }


def _greedy(runner: SequenceRunner, step: StepRunner, prompts: Ids, config: LanguageModelConfig) -> Ids:
    """The likeliest token again and again after prompts [batch, time], int64 [batch, NUM_DECODED_TOKENS]."""
    state = np.zeros((len(prompts), config.recurrent.state_size), np.float32)
    lengths = np.full(len(prompts), prompts.shape[1], np.int32)
    read = runner.run("advance", {"ids": prompts, "lengths": lengths, "state": state})
    for slot, row in enumerate(read["new_state"]):
        step.put(slot, row)
    tokens = [read["logits"].argmax(axis=1)]
    parents = np.arange(len(prompts))
    while len(tokens) < NUM_DECODED_TOKENS:
        tokens.append(step.step(tokens[-1], parents).argmax(axis=1))
    return np.stack(tokens, axis=1)


def _errors(runner: SequenceRunner, config: LanguageModelConfig, reference: LanguageModelReference) -> Errors:
    """Differences of logits and states from PyTorch's."""
    errors = Errors()
    for ids, lengths in ragged_batches(config):
        _add_errors(errors, runner, reference, ids, lengths, _reached_state(ids, reference, config))
    return errors


def _add_errors(
    errors: Errors, runner: SequenceRunner, reference: LanguageModelReference, ids: Ids, lengths: Lengths, state: Floats
) -> None:
    logits, new_state = reference.score(ids, lengths, state)
    precise = cache(partial(reference.score, ids, lengths, state, is_precise=True))
    inputs: dict[str, Array] = {"ids": ids, "lengths": lengths, "state": state}
    scored, advanced = runner.run("score", inputs), runner.run("advance", inputs)
    rows, is_valid = np.arange(len(ids)), np.arange(ids.shape[1]) < lengths[:, None]
    errors.add(scored["logits"][is_valid], logits[is_valid], lambda: precise()[0][is_valid])
    errors.add(scored["new_state"], new_state, lambda: precise()[1])
    errors.add(advanced["logits"], logits[rows, lengths - 1], lambda: precise()[0][rows, lengths - 1])
    errors.add(advanced["new_state"], new_state, lambda: precise()[1])


def _split_differences(runner: SequenceRunner, step: StepRunner, config: LanguageModelConfig) -> tuple[int, Errors]:
    """The same ids in one piece, in chunks, and one by one through `step`.

    Returns:
        The number of rows whose logits or state change, and how far the single steps are from the whole.
    """
    differing = 0
    errors = Errors(least=1.0)
    for ids, lengths in ragged_batches(config, seed=1):
        if int(lengths.min()) != ids.shape[1]:
            continue  # chunks of ragged rows are compared through _batch_differences and _padding_differences
        state = np.zeros((len(ids), config.recurrent.state_size), np.float32)
        whole = runner.run("advance", {"ids": ids, "lengths": lengths, "state": state})
        for size in CHUNK_SIZES:
            carried = {"new_state": state, "logits": state}
            for start in range(0, ids.shape[1], size):
                chunk = np.ascontiguousarray(ids[:, start : start + size])
                full = np.full(len(ids), chunk.shape[1], np.int32)
                carried = runner.run("advance", {"ids": chunk, "lengths": full, "state": carried["new_state"]})
            differing += _rows_that_differ(whole, carried)
        parents = np.arange(len(ids))
        for slot, row in enumerate(state):
            step.put(slot, row)
        for column in range(ids.shape[1]):
            logits = step.step(np.ascontiguousarray(ids[:, column]), parents).copy()
        stepped = {"logits": logits, "new_state": np.stack([step.get(slot) for slot in range(len(ids))])}
        differing += _rows_that_differ(whole, stepped)
        for name, value in stepped.items():
            errors.add(value, whole[name])
    return differing, errors


def _batch_differences(runner: SequenceRunner, config: LanguageModelConfig) -> int:
    """Rows that change when they run alone, unpadded."""
    differing = 0
    for ids, lengths in ragged_batches(config, seed=2):
        state = np.zeros((len(ids), config.recurrent.state_size), np.float32)
        together = runner.run("advance", {"ids": ids, "lengths": lengths, "state": state})
        for row in range(len(ids)):
            own = slice(row, row + 1)
            inputs: dict[str, Array] = {
                "ids": ids[own, : lengths[row]].copy(),
                "lengths": lengths[own],
                "state": state[own],
            }
            alone = runner.run("advance", inputs)
            differing += _rows_that_differ({name: value[own] for name, value in together.items()}, alone)
    return differing


def _padding_differences(runner: SequenceRunner, config: LanguageModelConfig) -> int:
    """Rows that change when the ids past their length do."""
    differing = 0
    for ids, lengths in ragged_batches(config, seed=3):
        state = np.zeros((len(ids), config.recurrent.state_size), np.float32)
        is_padding = np.arange(ids.shape[1]) >= lengths[:, None]
        other = np.where(is_padding, config.vocab_size - 1 - ids, ids)
        first, second = (
            runner.run("advance", {"ids": each, "lengths": lengths, "state": state}) for each in (ids, other)
        )
        differing += _rows_that_differ(first, second)
    return differing


def _rows_that_differ(first: dict[str, Floats], second: dict[str, Floats]) -> int:
    return sum(int((first[name] != second[name]).any(axis=1).sum()) for name in ("logits", "new_state"))


def _reached_state(ids: Ids, reference: LanguageModelReference, config: LanguageModelConfig) -> Floats:
    """A state that text leads to, one for each row."""
    zeros = np.zeros((len(ids), config.recurrent.state_size), np.float32)
    full = np.full(len(ids), ids.shape[1], np.int32)
    return reference.score(ids, full, zeros)[1]


def _text_logits(
    text: Ids, runner: SequenceRunner, reference: LanguageModelReference, config: LanguageModelConfig
) -> tuple[Floats, Floats]:
    state = np.zeros((len(text), config.recurrent.state_size), np.float32)
    lengths = np.full(len(text), text.shape[1], np.int32)
    found: Floats = runner.run("score", {"ids": text, "lengths": lengths, "state": state})["logits"]
    return _pytorch_logits(text, reference, config), found


def _pytorch_logits(
    text: Ids, reference: LanguageModelReference, config: LanguageModelConfig, *, is_precise: bool = False
) -> Floats:
    state = np.zeros((len(text), config.recurrent.state_size), np.float32)
    return reference.score(text, np.full(len(text), text.shape[1], np.int32), state, is_precise=is_precise)[0]


def _nats(logits: Floats, text: Ids) -> float:
    """Mean -log p of each token given those before it."""
    targets = text[:, 1:]
    return nats(logits[:, :-1], targets, np.ones(targets.shape, np.bool_))


EXPORT = TaskExport("generation", user_language_model, generation_figures, LanguageModelArchitecture)
