"""One decoding step, bare: PyTorch eager, every fp32 graph, the int8 graph, for every cell kind (2 layers of 512).

The fp32 graphs are the three that the same model can become, each with and without the runtime's graph optimisations:
the set fp32; `products`, the loop-free step of gpu-fp32; `operator`, with the ONNX operator as traced (for an LSTM or
GRU the same as fp32). int8 is held against the fastest of them. `read` is one time step inside the int8 `advance` over
a chunk of 32, as prompts are read.

Random weights: speed does not depend on them. The variants take turns, round after round, and a ratio is the median of
the rounds' ratios, so a machine that slows down slows all of them.

    python -m benchmarks step
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from rich.table import Table

from benchmarks.report import Report
from benchmarks.rounds import Times, fastest, in_turn, ratio
from export.onnx.int8.language_model import QuantizedLanguageModel
from export.onnx.rewrite.graph_sets import graph_set_from_traced
from export.onnx.weights import save_graphs
from export.trace.language_model import language_model_graphs
from models.cells import CELL_KINDS, CellKind
from models.config import LanguageModelConfig
from models.network.language_model import LanguageModel
from runtime.onnxruntime.build import Graphs, open_session
from runtime.onnxruntime.run import OnnxStepRunner

BATCHES = (1, 8, 64)
ROUNDS = 9
SECONDS = 0.03  # of each variant in a round
VOCAB_SIZE = 66
CHUNK = 32
PLAIN = ", not optimised"
FP32 = [f"{name}{suffix}" for name in ("fp32", "products", "operator") for suffix in ("", PLAIN)]
LEAST = {"rnn-tanh": 1.5, "rnn-relu": 1.5}  # fastest fp32 / int8 at batch 1; 2 for the others and at batch 64


def main() -> Report:
    """Measure."""
    torch.set_num_threads(1)
    columns = (
        "cell",
        "batch",
        "PyTorch us",
        "fp32 us",
        "fastest fp32 us",
        "int8 us",
        "int8 read us",
        "fp32 / int8",
        "fastest / int8",
        "target",
        "PyTorch / int8",
        "int8 / read",
        "runner / bare",
    )
    table = Table(*columns, title="One step, 2 x 512, one thread", title_justify="left")
    results: list[dict[str, Any]] = []
    for kind in CELL_KINDS:
        model = _Model(kind)
        for batch in BATCHES:
            row = _measured(kind, batch, in_turn(model.variants(batch), ROUNDS, SECONDS))
            results.append(row)
            table.add_row(
                kind,
                str(batch),
                *(f"{row[key]:.0f}" for key in ("pytorch_us", "fp32_us")),
                f"{row['fastest_us']:.0f} {row['fastest']}",
                *(f"{row[key]:.0f}" for key in ("int8_us", "read_us")),
                *(f"{row[key]:.2f}" for key in ("fp32_over_int8", "fastest_over_int8")),
                f"{row['target']:g}{'' if row['is_met'] else ' MISSED'}",
                *(f"{row[key]:.2f}" for key in ("pytorch_over_int8", "int8_over_read", "runner_over_int8")),
            )
    return Report("step", [table], {"steps": results})


def _measured(kind: CellKind, batch: int, times: Times) -> dict[str, Any]:
    times["read"] = [microseconds / CHUNK for microseconds in times["read"]]
    best = fastest(times, FP32)
    target = LEAST.get(kind, 2.0) if batch == 1 else 2.0
    over = ratio(times, best, "int8")
    return {
        "cell": kind,
        "batch": batch,
        **{f"{name}_us": median(values) for name, values in times.items()},
        "fastest": best,
        "fastest_us": median(times[best]),
        "fp32_over_int8": ratio(times, "fp32", "int8"),
        "fastest_over_int8": over,
        "target": target,
        "is_met": over >= target,
        "pytorch_over_int8": ratio(times, "pytorch", "int8"),
        "int8_over_read": ratio(times, "int8", "read"),
        "runner_over_int8": ratio(times, "runner", "int8"),
    }


class _Model:
    """One cell kind with all its graphs open."""

    def __init__(self, kind: CellKind) -> None:
        torch.manual_seed(0)
        self._config = LanguageModelConfig(
            vocab_size=VOCAB_SIZE, embedding_size=256, kind=kind, hidden_size=512, num_layers=2
        )
        self._model = LanguageModel(self._config).eval()
        weights = {name: value.detach().numpy() for name, value in self._model.named_parameters()}
        traced = language_model_graphs(self._model)
        sets = {
            "fp32": graph_set_from_traced("fp32", traced),
            "products": graph_set_from_traced("gpu-fp32", traced),
            "operator": traced,
            "int8": QuantizedLanguageModel(self._config, weights).graphs(),
        }
        self._sessions: dict[str, Any] = {}
        for name, graphs in sets.items():
            self._open(name, graphs)

    def _open(self, name: str, graphs: dict[str, onnx.ModelProto]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            save_graphs(Path(folder), {graph: graphs[graph] for graph in ("step", "advance")})
            self._sessions[name] = open_session(Path(folder) / "step.onnx")
            if name == "int8":
                self._sessions["advance"] = open_session(Path(folder) / "advance.onnx")
                return
            options = ort.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 3
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            path = str(Path(folder) / "step.onnx")
            self._sessions[f"{name}{PLAIN}"] = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def variants(self, batch: int) -> dict[str, Callable[[], object]]:
        """Functions that make one step each: PyTorch, all graphs bare, and int8 through the server's runner."""
        generator = np.random.default_rng(0)
        token = generator.integers(VOCAB_SIZE, size=batch)
        state = generator.uniform(0, 0.5, (batch, self._config.recurrent.state_size)).astype(np.float32)
        runner = OnnxStepRunner(Graphs("int8", {"step": self._sessions["int8"]}), 2 * batch, state.shape[1])
        for slot, row in enumerate(state):
            runner.put(slot, row)
        parents = np.arange(batch)
        ids, torch_state = torch.from_numpy(token)[:, None], torch.from_numpy(state)

        def eager() -> None:
            with torch.inference_mode():
                self._model(ids, torch_state)

        feeds = {"token": token, "state": state}
        chunk = {"ids": np.tile(token[:, None], CHUNK), "lengths": np.full(batch, CHUNK, np.int32), "state": state}
        return {
            "pytorch": eager,
            **{name: _call(self._sessions[name], feeds) for name in (*FP32, "int8")},
            "read": _call(self._sessions["advance"], chunk),
            "runner": lambda: runner.step(token, parents),
        }


def _call(session: Any, feeds: dict[str, Any]) -> Callable[[], object]:
    return lambda: session.run(None, feeds)
