"""The bare loops that generation is held beside: a graph's step or advance alone, one thread, nothing around it.

Nothing of the server's is in here but the opened graph: no runner, no sampling, no prompts. The state is fed back by
two buffers that the runtime reads and writes in turn, through bindings made before the clock starts, so this is the
best that the runtime does on one thread that does not spin.

    python -m benchmarks bare
"""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from benchmarks.generation_workload import STORE
from benchmarks.quality.graph_answers import with_sets
from benchmarks.report import NO_FILES, report
from benchmarks.rounds import in_turn
from models.bundle import Bundle
from models.store import Store
from runtime.onnxruntime.build import open_graph_set
from server.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SETS = ("fp32", "int8")
BATCHES = (1, 2, 4, 8, 16, 32, 64, 96, 128)
ROUNDS, SECONDS = 5, 0.1  # of each set and batch in a round
NEAR_PEAK = 0.95
_CHUNK = 32  # tokens of an advance, as prompts are read


class BareStep:
    """One step after another at one batch.

    Args:
        session: of the graph `step`.
        batch: rows.
        state_width: D.

    Attributes:
        state: float32 [batch, D], after the last call.
        logits: float32 [batch, V], of its last step.
        num_steps: made so far.
    """

    def __init__(self, session: Any, batch: int, state_width: int) -> None:
        self._session = session
        self._batch = batch
        shapes = {output.name: output.shape for output in session.get_outputs()}
        tokens = np.ones(batch, np.int64)
        self.logits = np.zeros((batch, shapes["logits"][1]), np.float32)
        states = [np.zeros((batch, state_width), np.float32) for _ in range(2)]
        self.state = states[0]
        self.num_steps = 0
        self._kept = (tokens, states)  # alive: the runtime has only their addresses
        self._bindings = [
            _binding(
                session,
                {"token": tokens, "state": states[source]},
                {"logits": self.logits, "new_state": states[1 - source]},
            )
            for source in range(2)
        ]

    def __call__(self) -> None:
        """Two steps: the state is back in the buffer where it was."""
        self._session.run_with_iobinding(self._bindings[0])
        self._session.run_with_iobinding(self._bindings[1])
        self.num_steps += 2

    def seconds_of_step(self, seconds: float) -> float:
        """Seconds of one step, the mean of steps made for so long."""
        self()
        before, started = self.num_steps, time.perf_counter()
        while (passed := time.perf_counter() - started) < seconds or self.num_steps == before:
            self()
        return passed / (self.num_steps - before)

    def rows_per_second(self, seconds: float) -> float:
        """Rows that are given a token each second."""
        return self._batch / self.seconds_of_step(seconds)


class BareLoops:
    """The bare loops of one graph set of one model.

    Args:
        bundle: a language model that has the set.
        set_name: such as int8.
    """

    def __init__(self, bundle: Bundle, set_name: str) -> None:
        self._graphs = open_graph_set(bundle.graph_set(set_name), graphs=["step", "advance"])
        self._state_width = bundle.record.state_width

    def step(self, batch: int) -> BareStep:
        """The step at one batch."""
        return BareStep(self._graphs.session("step"), batch, self._state_width)

    def seconds_of_chunk(self, length: int, seconds: float) -> float:
        """Seconds of an advance of one row over so many tokens, at most _CHUNK, the median of calls made for so long.

        A prompt of n tokens takes n / _CHUNK such calls, its last token a step.
        """
        session = self._graphs.session("advance")
        feeds = {
            "ids": np.ones((1, length), np.int64),
            "lengths": np.array([length], np.int32),
            "state": np.zeros((1, self._state_width), np.float32),
        }
        session.run(None, feeds)
        times: list[float] = []
        started = time.perf_counter()
        while not times or time.perf_counter() - started < seconds:
            began = time.perf_counter()
            session.run(None, feeds)
            times.append(time.perf_counter() - began)
        return median(times)

    def seconds_per_prompt_token(self, seconds: float) -> float:
        """Seconds of reading one token of a prompt, in whole chunks, alone on the machine."""
        return self.seconds_of_chunk(_CHUNK, seconds) / _CHUNK


def main(num_rounds: int = ROUNDS) -> None:
    """Measure every set and batch of every language model, print the table, end in one JSON line.

    Args:
        num_rounds: of all measurements; only with ROUNDS are files written.
    """
    store = Store(STORE)
    bundles = [Bundle(store.resolve(name)) for name in store.names()]
    results = {bundle.id: measured(bundle, num_rounds) for bundle in bundles if bundle.record.task == "generation"}
    caps = {
        f"{model}, {name}": {"row_cap": found["row_cap"], "peak_batch": found["peak_batch"]}
        for model, sets in results.items()
        for name, found in sets.items()
    }
    result = {"default_max_rows": Settings.model_fields["max_rows"].default, "row_caps": caps, "models": results}
    tables = [_table(model, sets, num_rounds) for model, sets in results.items()]
    report("bare", tables, result, _picture(results), **({} if num_rounds == ROUNDS else NO_FILES))


def measured(bundle: Bundle, num_rounds: int) -> dict[str, dict[str, Any]]:
    """For each set the rows a second at each batch, and its row cap."""
    with with_sets(bundle, SETS) as bundles:
        loops = {name: BareLoops(copy, name) for name, copy in bundles.items()}
        steps = {(name, batch): loop.step(batch) for name, loop in loops.items() for batch in BATCHES}
        times = in_turn({f"{name} {batch}": step for (name, batch), step in steps.items()}, num_rounds, SECONDS)
    found: dict[str, dict[str, Any]] = {}
    for name in SETS:
        rounds = {batch: [2e6 * batch / us for us in times[f"{name} {batch}"]] for batch in BATCHES}
        rates = {batch: median(values) for batch, values in rounds.items()}
        found[name] = {
            "rows_per_second": {str(batch): rate for batch, rate in rates.items()},
            "step_us": {str(batch): 1e6 * batch / rate for batch, rate in rates.items()},
            "row_cap": row_cap(rates),
            "peak_batch": max(rates, key=rates.__getitem__),
        }
    return found


def row_cap(rates: dict[int, float]) -> int:
    """The smallest batch within NEAR_PEAK of the most rows a second.

    Args:
        rates: rows a second by batch.
    """
    peak = max(rates.values())
    return min(batch for batch, rate in rates.items() if rate >= NEAR_PEAK * peak)


def _table(model: str, sets: dict[str, dict[str, Any]], num_rounds: int) -> Table:
    columns: list[str] = []
    for name in sets:
        columns += [f"{name} rows/s", f"{name} step us"]
    caps = "; ".join(f"{name} {found['row_cap']}" for name, found in sets.items())
    table = Table(
        "batch",
        *columns,
        title=f"{model}: the bare step loop, one thread, median of {num_rounds} rounds",
        caption=f"smallest batch within {NEAR_PEAK:.0%} of the peak: {caps}",
        title_justify="left",
    )
    for batch in map(str, BATCHES):
        cells: list[str] = []
        for found in sets.values():
            cells += [f"{found['rows_per_second'][batch]:,.0f}", f"{found['step_us'][batch]:,.0f}"]
        table.add_row(batch, *cells)
    return table


def _picture(results: dict[str, dict[str, dict[str, Any]]]) -> "Figure":
    """Rows a second against the batch, the row caps marked."""
    from export.figure import new_figure

    figure = new_figure(7, 4)
    axes = figure.add_subplot()
    for model, sets in results.items():
        for name, found in sets.items():
            rates: Sequence[float] = list(found["rows_per_second"].values())
            (line,) = axes.plot(BATCHES, rates, "o-", label=f"{model} {name}")
            cap = found["row_cap"]
            axes.plot(cap, found["rows_per_second"][str(cap)], "*", markersize=15, color=line.get_color())
            axes.axhline(NEAR_PEAK * max(rates), color=line.get_color(), linewidth=0.6, linestyle="--")
    axes.set_xscale("log", base=2)
    axes.set_xticks(BATCHES, [str(batch) for batch in BATCHES])
    axes.set_ylim(bottom=0)
    axes.set(xlabel="rows in a step", ylabel="rows a second", title="Bare step loop; star: within 95 % of the peak")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _binding(session: Any, inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
    for name, array in outputs.items():
        binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
    return binding


def open_bundle(name: str, store: Path = STORE) -> Bundle:
    """The highest version of a model of the store."""
    return Bundle(Store(store).resolve(name))
