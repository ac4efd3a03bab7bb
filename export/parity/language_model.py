"""Proof that a graph set answers as PyTorch does, and that its graphs agree with each other to the bit.

Against PyTorch (packed sequences), on ragged batches of many shapes, from states that real text leads to. Among
themselves: one piece = chunks = single steps, alone = in a batch, whatever the padding holds.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from export.backends.runner import Array, SequenceRunner, StepRunner
from export.parity.tolerance import FP32_TOLERANCE, INT8_NATS_TOLERANCE, Errors, nats
from export.report import Check, Report
from export.trace.reference import LanguageModelReference
from models.config import LanguageModelConfig

Ids = NDArray[np.int64]
Lengths = NDArray[np.int32]
Floats = NDArray[np.float32]

SHAPES = ((1, 1), (1, 7), (2, 2), (5, 7), (5, 64), (33, 3))  # batch, time
CHUNK_SIZES = (1, 7, 16)
NUM_TEXT_ROWS = 16
NUM_TEXT_TOKENS = 160


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


def verify_language_model(
    set_name: str,
    runner: SequenceRunner,
    step: StepRunner,
    config: LanguageModelConfig,
    reference: LanguageModelReference,
) -> Report:
    """Run every check of one graph set.

    Args:
        set_name: decides the tolerances: fp32 or int8.
        runner: over advance and score.
        step: over step, with at least 2 x 33 slots.
        config: the architecture.
        reference: PyTorch's answers from the same weights.
    """
    checks = [
        Check("rows_changed_by_chunks_or_steps", _split_differences(runner, step, config), 0),
        Check("rows_changed_by_company", _batch_differences(runner, config), 0),
        Check("rows_changed_by_padding", _padding_differences(runner, config), 0),
    ]
    errors = _errors(runner, config, reference)
    text = reference.sample(NUM_TEXT_ROWS, NUM_TEXT_TOKENS, seed=1)
    expected_logits, found_logits = _text_logits(text, runner, reference, config)
    expected, found = (_nats(logits, text) for logits in (expected_logits, found_logits))
    agreement = float((expected_logits.argmax(-1) == found_logits.argmax(-1)).mean())
    facts = {
        "mean_error": errors.mean,
        "argmax_agreement": agreement,
        "nats_per_token": found,
        "pytorch_nats_per_token": expected,
    }
    if set_name == "int8":
        checks.append(Check("rise_of_nats_per_token", found / expected - 1, INT8_NATS_TOLERANCE))
        facts["worst_error"] = errors.worst
    else:
        checks.append(Check("worst_error", errors.worst, FP32_TOLERANCE))
    return Report(set_name, tuple(checks), facts)


def _errors(runner: SequenceRunner, config: LanguageModelConfig, reference: LanguageModelReference) -> Errors:
    """Differences of logits and states from PyTorch's."""
    errors = Errors()
    for ids, lengths in ragged_batches(config):
        state = _reached_state(ids, reference, config)
        logits, new_state = reference.score(ids, lengths, state)
        inputs: dict[str, Array] = {"ids": ids, "lengths": lengths, "state": state}
        scored, advanced = runner.run("score", inputs), runner.run("advance", inputs)
        rows, is_valid = np.arange(len(ids)), np.arange(ids.shape[1]) < lengths[:, None]
        pairs = (
            (scored["logits"][is_valid], logits[is_valid]),
            (scored["new_state"], new_state),
            (advanced["logits"], logits[rows, lengths - 1]),
            (advanced["new_state"], new_state),
        )
        for found, expected in pairs:
            errors.add(found, expected)
    return errors


def _split_differences(runner: SequenceRunner, step: StepRunner, config: LanguageModelConfig) -> int:
    """Rows whose logits or state change when the same ids go in chunks, or one by one through `step`."""
    differing = 0
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
            logits = step.step(np.ascontiguousarray(ids[:, column]), parents)
        states = np.stack([step.get(slot) for slot in range(len(ids))])
        differing += _rows_that_differ(whole, {"logits": logits, "new_state": states})
    return differing


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
    expected, _ = reference.score(text, lengths, state)
    found: Floats = runner.run("score", {"ids": text, "lengths": lengths, "state": state})["logits"]
    return expected, found


def _nats(logits: Floats, text: Ids) -> float:
    """Mean -log p of each token given those before it."""
    targets = text[:, 1:]
    return nats(logits[:, :-1], targets, np.ones(targets.shape, np.bool_))
