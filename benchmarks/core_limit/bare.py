"""Bare loops of the runtime on every core at once: what a row, a prompt token or a text costs alone.

A loop per core, each in a thread of its own, because cores share caches and memory: one loop alone is faster than each
of several. The runtime is called outside Python's lock, through bindings that are made before the clock starts.
"""

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from export.onnx.decode import forced_decode
from models.graph_set import GraphSet
from runtime.device import num_cores
from runtime.onnxruntime.build import open_session
from runtime.runner import Array

Loop = Callable[[], Any]


def core_seconds(make_loop: Callable[[], Loop], seconds: float) -> float:
    """Core-seconds of one turn of a loop, with a loop on every core.

    Args:
        make_loop: gives a loop of its own to each core; called before the clock starts.
        seconds: how long the loops run.
    """
    loops = [make_loop() for _ in range(num_cores())]
    rates: list[float] = []
    barrier = threading.Barrier(len(loops))

    def run(loop: Loop) -> None:
        loop()
        barrier.wait()
        started = time.perf_counter()
        num_calls = 0
        while (passed := time.perf_counter() - started) < seconds or not num_calls:
            loop()
            num_calls += 1
        rates.append(num_calls / passed)

    threads = [threading.Thread(target=run, args=(loop,)) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(loops) / sum(rates)


def cheapest(rounds: Sequence[Mapping[str, float]]) -> str:
    """The name with the smallest median over the rounds."""
    return min(rounds[0], key=lambda name: median(each[name] for each in rounds))


class BoundLoop:
    """Calls of one graph with all its inputs and outputs bound once.

    Args:
        session: the graph's.
        inputs: arrays by name.
        feeds_back: whether the output `new_state` becomes the input `state` of the next call, by two buffers in turn;
            then a turn of the loop is two calls.
    """

    def __init__(self, session: Any, inputs: Mapping[str, Array], *, feeds_back: bool = False) -> None:
        self._session = session
        names = [item.name for item in session.get_outputs()]
        self._inputs = {name: ort.OrtValue.ortvalue_from_numpy(np.array(it)) for name, it in inputs.items()}
        found = dict(zip(names, session.run(None, dict(inputs)), strict=True))
        outputs = {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in found.items()}
        self._bindings = []
        for is_back in (False, True) if feeds_back else (False,):
            binding = session.io_binding()
            for name, value in self._inputs.items():
                binding.bind_ortvalue_input(name, outputs["new_state"] if is_back and name == "state" else value)
            for name, value in outputs.items():
                binding.bind_ortvalue_output(name, self._inputs["state"] if is_back and name == "new_state" else value)
            self._bindings.append(binding)

    @property
    def state(self) -> Array:
        """After the last turn, where it is fed back."""
        state: Array = self._inputs["state"].numpy()
        return state

    def __call__(self) -> None:
        """One turn."""
        for binding in self._bindings:
            self._session.run_with_iobinding(binding)


@contextlib.contextmanager
def bare_window(graph_set: GraphSet) -> Iterator[Any]:
    """A session of the loop of `decode` without the choice: every token is forced, and nothing but the step is done.

    Args:
        graph_set: has the graph `step`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "forced.onnx"
        onnx.save(forced_decode(onnx.load(str(graph_set.graph("step")))), str(path))
        yield open_session(path)
