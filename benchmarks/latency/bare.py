"""What the graphs alone take on one core: the step at a batch, a prompt by `advance`."""

import time
from statistics import median

import numpy as np

from benchmarks.core_limit.bare import BoundLoop
from models.bundle import Bundle
from runtime.onnxruntime.build import open_graph_set
from runtime.runner import Array

CHUNK = 32  # tokens of one call of `advance`, as prompts are prefilled


class BareGraphs:
    """The graphs of one set of a model that generates text.

    Args:
        bundle: the model.
        set_name: such as int8.
    """

    def __init__(self, bundle: Bundle, set_name: str) -> None:
        self._graphs = open_graph_set(bundle.graph_set(set_name), graphs=["step", "advance"])
        self._width = bundle.record.state_width

    def step_seconds(self, batch: int, seconds: float) -> float:
        """Seconds of one step at a batch, the mean of steps made for so many seconds."""
        inputs: dict[str, Array] = {
            "token": np.ones(batch, np.int64),
            "state": np.zeros((batch, self._width), np.float32),
        }
        two_steps = BoundLoop(self._graphs.session("step"), inputs, feeds_back=True)
        two_steps()
        started, num_steps = time.perf_counter(), 0
        while (passed := time.perf_counter() - started) < seconds or not num_steps:
            two_steps()
            num_steps += 2
        return passed / num_steps

    def prompt_seconds(self, num_tokens: int, seconds: float) -> float:
        """Seconds of a prompt's first tokens by `advance`, one row, in chunks; the median over so many seconds."""
        session = self._graphs.session("advance")
        lengths = [CHUNK] * (num_tokens // CHUNK) + ([num_tokens % CHUNK] if num_tokens % CHUNK else [])
        times: list[float] = []
        started = time.perf_counter()
        while not times or time.perf_counter() - started < seconds:
            began = time.perf_counter()
            state = np.zeros((1, self._width), np.float32)
            for length in lengths:
                inputs = {"ids": np.ones((1, length), np.int64), "lengths": np.array([length], np.int32)}
                (state,) = session.run(["new_state"], inputs | {"state": state})
            times.append(time.perf_counter() - began)
        return median(times)
