"""Sequence: models of frames, always a user's own, whose graphs are traced from their forward.

Among themselves: one piece = chunks = single steps, alone = in a batch, whatever stands past a row's end.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from export.parity.explained import Explained
from export.tasks.task import TaskExport
from export.user_module.wrap.changes import Changes
from export.user_module.wrap.frames import LONG_SHAPES, SHAPES, advanced, random_rows
from export.user_module.wrap.sequence import user_sequence_model
from models.architecture import WrappedConfig
from models.signature import Signature
from runtime.frames import Row, num_frames, own_answer, stepped
from runtime.opening import OpenGraphs
from runtime.runner import Array

Floats = NDArray[np.float32]
Answer = dict[str, Array]  # of one row: each output, [length, ...] or [...], and "new_state" [D]

CHUNK_SIZES = (1, 7, 16)  # one by one is through `step`


def sequence_figures(opened: OpenGraphs, config: WrappedConfig) -> dict[str, float]:
    """See TaskExport.consistency."""
    signature = config.signature
    assert signature is not None, "the record has checked it"
    batches = random_rows(signature, (*SHAPES, (33, 3)), 1, config.special_ids)
    return consistency_of_frames(opened, signature, config.state_size, batches)


def explained_figures(opened: OpenGraphs, reference: OpenGraphs, config: WrappedConfig) -> dict[str, float]:
    """How much of another set's answers a set gives again, whole sequences from zeros (export.parity.explained)."""
    signature = config.signature
    assert signature is not None, "the record has checked it"
    explained = Explained()
    for rows in random_rows(signature, (*SHAPES, *LONG_SHAPES), 10, config.special_ids):
        state = np.zeros((len(rows), config.state_size), np.float32)
        found, expected = (advanced(graphs, signature, rows, state) for graphs in (opened, reference))
        for index, row in enumerate(rows):
            one, other = (_own(signature, each, index, num_frames(signature, row)) for each in (found, expected))
            for port in signature.outputs:
                pair = one[port.name], other[port.name]
                explained.add(port.name, *(pair if port.has_time else (values[None] for values in pair)))
    return explained.figures()


def consistency_of_frames(
    opened: OpenGraphs, signature: Signature, state_size: int, batches: Sequence[Sequence[Row]]
) -> dict[str, float]:
    """How far graphs of frames are from each other on batches of rows; `state_size` is D."""
    begin = np.zeros(state_size, np.float32)
    in_batch, padding, chunked, by_steps = Changes(), Changes(), Changes(), Changes()
    for rows in batches:
        states = np.zeros((len(rows), len(begin)), np.float32)
        together = advanced(opened, signature, rows, states)
        longer = advanced(opened, signature, rows, states, extra=5) if signature.takes_padding else together
        for index, row in enumerate(rows):
            among = _own(signature, together, index, num_frames(signature, row))
            whole = _read(opened, signature, row, begin)
            _add(in_batch, among, whole)
            _add(padding, _own(signature, longer, index, num_frames(signature, row)), among)
            if len(begin):
                for size in CHUNK_SIZES:
                    _add(by_steps if size == 1 else chunked, _in_pieces(opened, signature, row, begin, size), whole)
        if len(begin):
            first = [_cut(signature, row, 0, 1) for row in rows]
            for found, expected in zip(
                _step(opened, signature, first, states),
                (answer for row in first for answer in _step(opened, signature, [row], states[:1])),
                strict=True,
            ):
                _add(in_batch, found, expected)
    figures = {"worst_change_by_batch": in_batch.worst, "other_bits_by_batch": in_batch.num_rows}
    if signature.takes_padding:
        figures |= {"worst_change_by_padding": padding.worst, "other_bits_by_padding": padding.num_rows}
    if len(begin):
        figures |= {
            "worst_change_by_chunks": chunked.worst,
            "worst_step_against_whole": by_steps.worst,
            "other_bits_by_chunks_or_steps": chunked.num_rows + by_steps.num_rows,
        }
    return figures


def _read(opened: OpenGraphs, signature: Signature, row: Row, state: Floats) -> Answer:
    """One row alone, in one call of `advance`."""
    return _own(signature, advanced(opened, signature, [row], state[None]), 0, num_frames(signature, row))


def _step(opened: OpenGraphs, signature: Signature, rows: Sequence[Row], states: Floats) -> list[Answer]:
    """One frame of each row, in one call of `step`."""
    found = opened.sequences().run("step", stepped(signature, rows) | {"state": states})
    return [_own(signature, found, index, 1, is_step=True) for index in range(len(rows))]


def _in_pieces(opened: OpenGraphs, signature: Signature, row: Row, state: Floats, size: int) -> Answer:
    """One row alone, in chunks of a size, by `step` where that is 1."""
    length = num_frames(signature, row)
    answers = []
    for start, stop in pairwise([*range(0, length, size), length]):
        piece = _cut(signature, row, start, stop)
        answers.append(
            _step(opened, signature, [piece], state[None])[0] if size == 1 else _read(opened, signature, piece, state)
        )
        state = answers[-1]["new_state"]
    joined = {
        port.name: np.concatenate([answer[port.name] for answer in answers])
        for port in signature.outputs
        if port.has_time
    }
    return answers[-1] | joined


def _cut(signature: Signature, row: Row, start: int, stop: int) -> dict[str, Array]:
    return {port.name: row[port.name][start:stop] if port.has_time else row[port.name] for port in signature.inputs}


def _own(signature: Signature, found: dict[str, Array], index: int, length: int, *, is_step: bool = False) -> Answer:
    answer = {
        port.name: own_answer(port, found[port.name], index, length, is_step=is_step) for port in signature.outputs
    }
    return answer | ({"new_state": found["new_state"][index]} if "new_state" in found else {})


def _add(changes: Changes, found: Answer, expected: Answer) -> None:
    """Decisions, which are integers, are compared as numbers."""
    changes.add((np.asarray(found[name], np.float64), np.asarray(expected[name], np.float64)) for name in expected)


EXPORT = TaskExport("sequence", user_sequence_model, sequence_figures, user_sets=("fp32", "int8"))
