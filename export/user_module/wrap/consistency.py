"""Whether a wrapped model's graphs agree among themselves: what the server relies on. Knows no user's code, no torch.

An answer may not depend on other rows, on padding, or on how a text is cut; within rounding it must not, and whether it
does in the last bit is told.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from export.user_module.wrap.changes import Changes
from runtime.padding import padded
from runtime.runner import Array, AttentionStepRunner, SequenceRunner, StepRunner

Ids = NDArray[np.int64]
Lengths = NDArray[np.int32]
Floats = NDArray[np.float32]

SHAPES = ((1, 1), (2, 2), (5, 17), (4, 40), (17, 9))  # batch, longest text
# Long texts, read only to be compared with PyTorch: a forward may decide by a size that the short ones never reach.
LONG_SHAPES = ((2, 130), (12, 300))
CHUNK_SIZES = (1, 7, 16)
NUM_TARGETS = 4


def ragged_texts(vocab_size: int, seed: int, shapes: Iterable[tuple[int, int]] = SHAPES) -> list[list[list[int]]]:
    """Random texts for every shape, one of them as long as the shape says."""
    generator = np.random.default_rng(seed)
    batches = []
    for batch, longest in shapes:
        lengths = generator.integers(1, longest + 1, size=batch)
        lengths[generator.integers(batch)] = longest
        batches.append([generator.integers(vocab_size, size=length).tolist() for length in lengths])
    return batches


def within(shapes: Iterable[tuple[int, int]], longest: int | None) -> list[tuple[int, int]]:
    """Shapes whose texts are no longer than a tokenizer lets them be; None where it does not cut."""
    return [(batch, time if longest is None else min(time, longest)) for batch, time in shapes]


def unpadded(texts: list[list[int]]) -> tuple[Ids, Lengths]:
    """As padded, but only to the longest."""
    ids, lengths = padded(texts)
    return np.ascontiguousarray(ids[:, : lengths.max()]), lengths


def generation_figures(runner: SequenceRunner, step: StepRunner, vocab_size: int, state_width: int) -> dict[str, float]:
    """Chunks = whole, steps = whole, alone = in a batch, whatever the padding holds.

    Args:
        runner: over advance.
        step: over step, with at least 17 slots.
        vocab_size: V.
        state_width: D.

    Returns:
        Figures by name; what they may be is in export.parity.limits.
    """
    chunked, stepped, company, padding = Changes(), Changes(), Changes(), Changes()
    for texts in ragged_texts(vocab_size, seed=1):
        ids, lengths = unpadded(texts)
        state = np.zeros((len(ids), state_width), np.float32)
        together = runner.run("advance", {"ids": ids, "lengths": lengths, "state": state})
        other = np.where(np.arange(ids.shape[1] + 5) < lengths[:, None], np.pad(ids, ((0, 0), (0, 5))), vocab_size - 1)
        padding.add_rows(runner.run("advance", {"ids": other, "lengths": lengths, "state": state}), together)
        for row, text in enumerate(texts):
            whole = _advanced(runner, [text], state[:1])
            company.add([(together[name][row], whole[name][0]) for name in whole])
            for size in CHUNK_SIZES:
                carried = {"new_state": state[:1]}
                for start in range(0, len(text), size):
                    carried = _advanced(runner, [text[start : start + size]], carried["new_state"])
                chunked.add_rows(carried, whole)
            step.put(0, state[0])
            for token in text:
                logits = step.step(np.array([token]), np.zeros(1, np.int64)).copy()
            stepped.add_rows({"logits": logits, "new_state": step.get(0)[None]}, whole)
        company.add_rows(*_stepped_alone_and_together(step, ids, state))
    return {
        "worst_change_by_chunks": chunked.worst,
        "worst_step_against_whole": stepped.worst,
        "worst_change_by_company": company.worst,
        "worst_change_by_padding": padding.worst,
        "other_bits_by_chunks_or_steps": chunked.num_rows + stepped.num_rows,
        "other_bits_by_company": company.num_rows,
        "other_bits_by_padding": padding.num_rows,
    }


def translation_figures(runner: SequenceRunner, step: AttentionStepRunner, vocab_size: int) -> dict[str, float]:
    """Alone = in a batch, whatever the padding holds; attention is a set of shares.

    Args:
        runner: over encode.
        step: over step, with at least 17 slots.
        vocab_size: V.

    Returns:
        As generation_figures.
    """
    generator = np.random.default_rng(3)
    company, padding = Changes(), Changes()
    fault = 0.0
    for texts in ragged_texts(vocab_size, seed=1):
        ids, lengths = padded(texts)
        together = runner.run("encode", {"ids": ids, "lengths": lengths})
        is_source = np.arange(ids.shape[1] + 16) < lengths[:, None]
        other = np.where(is_source, np.pad(ids, ((0, 0), (0, 16))), vocab_size - 1)
        otherwise = runner.run("encode", {"ids": other, "lengths": lengths})
        targets = generator.integers(vocab_size, size=(len(texts), NUM_TARGETS))
        answers = forced(step, together, lengths, targets)
        of_others = forced(step, otherwise, lengths, targets)
        for row, text in enumerate(texts):
            own = slice(row, row + 1)
            own_ids, own_lengths = padded([text])
            alone = runner.run("encode", {"ids": own_ids, "lengths": own_lengths})
            mine = forced(step, alone, own_lengths, targets[own])
            encoded, length = _row(together, row, len(text)), len(text)
            company.add([*_pairs(encoded, _row(alone, 0, length)), *_pairs(answers[row], mine[0], length)])
            padding.add([*_pairs(encoded, _row(otherwise, row, length)), *_pairs(answers[row], of_others[row], length)])
            attention = answers[row]["attention"]
            faults = (attention[:, length:], attention.sum(axis=1) - 1, np.minimum(attention, 0))
            fault = max(fault, *(float(np.abs(part).max(initial=0)) for part in faults))
    return {
        "worst_change_by_company": company.worst,
        "worst_change_by_padding": padding.worst,
        "worst_attention_fault": fault,
        "other_bits_by_company": company.num_rows,
        "other_bits_by_padding": padding.num_rows,
    }


def sentiment_figures(runner: SequenceRunner, vocab_size: int) -> dict[str, float]:
    """Alone = in a batch, whatever the padding holds.

    Args:
        runner: over classify.
        vocab_size: V.

    Returns:
        As generation_figures.
    """
    company, padding = Changes(), Changes()
    for texts in ragged_texts(vocab_size, seed=1):
        ids, lengths = padded(texts)
        together = runner.run("classify", {"ids": ids, "lengths": lengths})
        is_text = np.arange(ids.shape[1] + 16) < lengths[:, None]
        other = np.where(is_text, np.pad(ids, ((0, 0), (0, 16))), vocab_size - 1)
        padding.add_rows(runner.run("classify", {"ids": other, "lengths": lengths}), together)
        for row, text in enumerate(texts):
            own_ids, own_lengths = padded([text])
            alone = runner.run("classify", {"ids": own_ids, "lengths": own_lengths})
            company.add([(together["logits"][row], alone["logits"][0])])
    return {
        "worst_change_by_company": company.worst,
        "worst_change_by_padding": padding.worst,
        "other_bits_by_company": company.num_rows,
        "other_bits_by_padding": padding.num_rows,
    }


def forced(
    step: AttentionStepRunner, encoded: dict[str, Array], lengths: Lengths, targets: Ids
) -> list[dict[str, Floats]]:
    """Feed targets int64 [batch, time] to encoded sources.

    Returns:
        For each row: logits [time, V], attention [time, S], state [D].
    """
    for slot, length in enumerate(lengths):
        memory = {name: encoded[name][slot, :length] for name in ("memory", "keys")}
        step.put(slot, encoded["state"][slot], memory)
    logits, attention = [], []
    for tokens in targets.T:
        logits.append(step.step(np.ascontiguousarray(tokens), np.arange(len(lengths))).copy())
        attention.append(step.attention.copy())
    return [
        {
            "logits": np.stack([values[row] for values in logits]),
            "attention": np.stack([values[row] for values in attention]),
            "state": step.get(row),
        }
        for row in range(len(lengths))
    ]


def _advanced(runner: SequenceRunner, texts: list[list[int]], state: Floats) -> dict[str, Array]:
    ids, lengths = unpadded(texts)
    return runner.run("advance", {"ids": ids, "lengths": lengths, "state": state})


def _stepped_alone_and_together(
    step: StepRunner, ids: Ids, state: Floats
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """One step of every row, at once and one by one."""
    tokens = np.ascontiguousarray(ids[:, 0])
    for slot, row in enumerate(state):
        step.put(slot, row)
    together = {"logits": step.step(tokens, np.arange(len(tokens))).copy()}
    alone = []
    for row, token in zip(state, tokens, strict=True):
        step.put(0, row)
        alone.append(step.step(np.array([token]), np.zeros(1, np.int64))[0].copy())
    return {"logits": np.stack(alone)}, together


def _row(encoded: dict[str, Array], row: int, length: int) -> dict[str, Floats]:
    return {
        "memory": encoded["memory"][row, :length],
        "keys": encoded["keys"][row, :length],
        "state": encoded["state"][row],
    }


def _pairs(
    found: dict[str, Floats], expected: dict[str, Floats], length: int | None = None
) -> list[tuple[Floats, Floats]]:
    """The arrays of two answers side by side; attention only over the source's own positions."""
    return [
        (found[name][:, :length], expected[name][:, :length]) if name == "attention" else (found[name], expected[name])
        for name in expected
    ]
