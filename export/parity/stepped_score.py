"""The graph `score` by way of `step`, for backends that open what a server needs and no more."""

from collections.abc import Mapping

import numpy as np

from runtime.runner import Array, SequenceRunner, StepRunner


class SteppedScore:
    """A SequenceRunner that answers `score` token by token.

    Args:
        sequences: answers every other graph.
        steps: with a slot for each row.
    """

    def __init__(self, sequences: SequenceRunner, steps: StepRunner) -> None:
        self._sequences = sequences
        self._steps = steps

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See SequenceRunner.run. Past a row's length its logits are of no meaning."""
        if graph != "score":
            return self._sequences.run(graph, inputs)
        ids, lengths, states = inputs["ids"], inputs["lengths"], inputs["state"].copy()
        for slot, state in enumerate(states):
            self._steps.put(slot, state)
        parents = np.arange(len(ids))
        logits = []
        for column in range(ids.shape[1]):
            logits.append(self._steps.step(np.ascontiguousarray(ids[:, column]), parents).copy())
            for row in np.flatnonzero(lengths == column + 1).tolist():
                states[row] = self._steps.get(row)
        return {"logits": np.stack(logits, axis=1), "new_state": states}
