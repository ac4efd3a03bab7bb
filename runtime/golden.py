"""The golden vector: a short answer recorded when a graph set was built, which this machine must reproduce at load.

It checks kernels, not files (hashes do that): a runtime or CPU that computes something else is found before it serves.
Other machine types round differently, so the comparison has a tolerance.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import RunnerError
from models.graph_set import Golden
from models.tasks import Sizes, Task, Tensor
from runtime.distance import difference, is_beyond_jump
from runtime.opening import OpenGraphs, step_runner
from runtime.padding import padded
from runtime.runner import SequenceRunner, StepRunner

Floats = NDArray[np.float32]

NUM_TOKENS = 16
# Mean absolute difference allowed, as a share of the golden logits' standard deviation. One int8 rounding that falls
# the other way moves them by less than 0.01; a wrong kernel by about 1.
TOLERANCE = {"fp32": 1e-3, "int8": 0.1}
_MOST_ID = 1 << 20  # of what frames are made from
_PRIME = 1_000_003


def golden_answer(
    task: Task, ids: Sequence[int], state_width: int, sequences: SequenceRunner, steps: StepRunner | None = None
) -> Floats:
    """What open graphs answer to ids.

    Args:
        task: decides what is run: one call of a "batch" task's graph; else a step for each id, from the zero state or
            from what the encoder gives for the same ids. Of a task of frames, those that the ids stand for.
        ids: token ids, at least one.
        state_width: D.
        sequences: over the graphs that take sequences.
        steps: over the step, with two slots or more; None for a task that feeds nothing back.

    Returns:
        The first output for the one row, float32, flat; where it has a time axis, up to the row's length. Of a task of
        frames, all outputs.
    """
    if task.inputs == "frames":
        return _answer_to_frames(task, ids, state_width, sequences)
    served = [graph for graph in task.graphs if graph.is_served and graph.kind == "sequence"]
    inputs, lengths = padded([ids])
    if steps is None:
        output = served[0].outputs[0]
        answer: Floats = sequences.run(served[0].name, {"ids": inputs, "lengths": lengths})[output.name][0]
        return answer[: len(ids)].ravel() if output.shape[1] == "T" else answer.ravel()
    if task.row_tensors:
        encoded = sequences.run(served[0].name, {"ids": inputs, "lengths": lengths})
        kept = {tensor.name: encoded[tensor.name][0, : len(ids)] for tensor in task.row_tensors}
        steps.put(0, encoded["state"][0], kept)
    else:
        steps.put(0, np.zeros(state_width, np.float32))
    parent = np.zeros(1, np.int64)
    for token in ids:
        logits = steps.step(np.array([token], np.int64), parent)
    last: Floats = logits[0].copy()
    return last


def _answer_to_frames(task: Task, ids: Sequence[int], state_width: int, sequences: SequenceRunner) -> Floats:
    """All outputs of one call of `advance`, then, of a model with a state, of a step from there."""
    answers: list[NDArray[Any]] = []
    state = np.zeros((1, state_width), np.float32)
    for graph in sorted(task.graphs, key=lambda graph: graph.kind == "step"):
        inputs = {tensor.name: state if tensor.name == "state" else _values(tensor, ids) for tensor in graph.inputs}
        found = sequences.run(graph.name, inputs)
        answers += [found[tensor.name].ravel() for tensor in graph.outputs]
        state = found.get("new_state", state)
    joined: Floats = np.concatenate([answer.astype(np.float32) for answer in answers])
    return joined


def _values(tensor: Tensor, ids: Sequence[int]) -> NDArray[Any]:
    """Numbers of one row that the ids stand for, by integer arithmetic that every machine does alike."""
    shape = tensor.sizes({"B": 1, "T": len(ids)})
    if tensor.fill == "lengths":
        return np.full(shape, len(ids), tensor.dtype)
    size = int(np.prod(shape, dtype=np.int64))
    mixed = (np.resize(np.array(ids, np.int64), size) * _PRIME + np.arange(size) * (_PRIME + 2)) % _MOST_ID
    if tensor.dtype == "float32":
        low, high = (-1.0, 1.0) if tensor.fill == "normal" else (tensor.low, tensor.high)
        return (low + (high - low) * (mixed / _MOST_ID)).astype(np.float32).reshape(shape)
    number = int(tensor.high) - int(tensor.low) + 1
    return (int(tensor.low) + mixed % number).astype(tensor.dtype).reshape(shape)


def answer_of_set(opened: OpenGraphs, task: Task, ids: Sequence[int], state_width: int) -> Floats:
    """As golden_answer, with runners of its own."""
    return golden_answer(task, ids, state_width, opened.sequences(), step_runner(opened, task, capacity=2))


def new_golden(opened: OpenGraphs, task: Task, sizes: Sizes) -> Golden:
    """The golden vector of graphs that were just verified: random ids, the same for every build."""
    most = _MOST_ID if task.inputs == "frames" else sizes["V"]
    ids: list[int] = np.random.default_rng(0).integers(most, size=NUM_TOKENS).tolist()
    return Golden(ids=ids, logits=_without_infinities(answer_of_set(opened, task, ids, sizes["D"])).tolist())


def check_golden(set_name: str, golden: Golden, found: Floats) -> None:
    """Compare this machine's answer with the recorded one.

    Args:
        set_name: the graph set, for the tolerance and the message.
        golden: from the set's manifest.
        found: float32, flat: what this machine answers to golden.ids.

    Raises:
        RunnerError: the answer is another one.
    """
    error = golden_error(golden, found)
    allowed = TOLERANCE.get(set_name, 1e-2)
    if not error <= allowed:  # written so that NaN fails
        raise RunnerError(
            f"Graph set {set_name} does not reproduce its golden vector on this machine: mean difference {error:.3g} "
            f"of the logits' spread, allowed {allowed:g}. Use another set, or build it here again."
        )


def golden_error(golden: Golden, found: Floats) -> float:
    """Mean absolute difference of an answer from the recorded one, as a share of its standard deviation.

    Numbers beyond a jump in magnitude, such as a banned token's -1e9 or -inf, are no part of either; infinite where one
    of them is another.
    """
    expected, found = np.array(golden.logits, np.float32), _without_infinities(found)
    is_ban = is_beyond_jump(expected)
    if not (difference(found, expected)[is_ban] <= TOLERANCE["fp32"]).all():
        return float("inf")
    if is_ban.all():
        return 0.0
    return float(np.abs(found[~is_ban] - expected[~is_ban]).mean() / max(float(expected[~is_ban].std()), 1e-6))


def _without_infinities(logits: Floats) -> Floats:
    """The same with the largest finite numbers for infinite ones, which JSON does not have."""
    finite: Floats = np.clip(logits, np.finfo(np.float32).min, np.finfo(np.float32).max)
    return finite
