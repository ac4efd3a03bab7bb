"""One decoding step, bare: PyTorch eager, the fp32 graph, the int8 graph, for every cell kind (2 layers of 512).

`read` is one time step inside the int8 `advance` over a chunk of 32, as prompts are read.

Random weights: speed does not depend on them. The variants take turns, round after round, and a ratio is the median of
the rounds' ratios, so a machine that slows down slows all of them.

    python -m benchmarks step
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from export.backends.onnxruntime.build import Graphs, open_session
from export.backends.onnxruntime.run import OnnxStepRunner
from export.quantize.language_model import QuantizedLanguageModel
from export.rewrite.graph_sets import graph_set_from_traced
from export.trace.language_model import language_model_graphs
from export.weights_file import save_graphs
from models.config import CELL_KINDS, CellKind, LanguageModelConfig
from models.network.language_model import LanguageModel

BATCHES = (1, 8, 64)
ROUNDS = 9
VOCAB_SIZE = 66
CHUNK = 32
RATIOS = ("fp32_over_int8", "pytorch_over_int8", "int8_over_read", "runner_over_int8")


def main() -> None:
    """Measure, print the table, end in one JSON line."""
    torch.set_num_threads(1)
    columns = (
        "cell",
        "batch",
        "PyTorch us",
        "fp32 us",
        "int8 us",
        "int8 read us",
        "fp32 / int8",
        "PyTorch / int8",
        "int8 / read",
        "runner / bare",
    )
    table = Table(*columns, title="One step, 2 x 512, one thread", title_justify="left")
    results: list[dict[str, Any]] = []
    for kind in CELL_KINDS:
        for batch in BATCHES:
            times = _rounds(_variants(kind, batch))
            times["read"] = [microseconds / CHUNK for microseconds in times["read"]]
            row = {"cell": kind, "batch": batch, **{f"{name}_us": median(values) for name, values in times.items()}}
            for name, over in (("fp32", "int8"), ("pytorch", "int8"), ("int8", "read"), ("runner", "int8")):
                row[f"{name}_over_{over}"] = median(a / b for a, b in zip(times[name], times[over], strict=True))
            results.append(row)
            table.add_row(
                kind,
                str(batch),
                *(f"{row[f'{name}_us']:.0f}" for name in ("pytorch", "fp32", "int8", "read")),
                *(f"{row[key]:.2f}" for key in RATIOS),
            )
    Console(width=130).print(table)
    print(json.dumps({"benchmark": "step", "machine": machine(), "results": results}))


def _variants(kind: CellKind, batch: int) -> dict[str, Callable[[], object]]:
    """Functions that make one step each: PyTorch, both graphs bare, and the int8 graph through the server's runner."""
    torch.manual_seed(0)
    config = LanguageModelConfig(vocab_size=VOCAB_SIZE, embedding_size=256, kind=kind, hidden_size=512, num_layers=2)
    model = LanguageModel(config).eval()
    weights = {name: value.detach().numpy() for name, value in model.named_parameters()}
    sessions: dict[str, Any] = {}
    for name, graphs in (
        ("fp32", graph_set_from_traced("fp32", language_model_graphs(model))),
        ("int8", QuantizedLanguageModel(config, weights).graphs()),
    ):
        with tempfile.TemporaryDirectory() as folder:
            save_graphs(Path(folder), graphs)
            sessions[name] = open_session(Path(folder) / "step.onnx")
            sessions[f"{name} advance"] = open_session(Path(folder) / "advance.onnx")
    generator = np.random.default_rng(0)
    token = generator.integers(VOCAB_SIZE, size=batch)
    state = generator.uniform(0, 0.5, (batch, config.recurrent.state_size)).astype(np.float32)
    runner = OnnxStepRunner(Graphs("int8", {"step": sessions["int8"]}), 2 * batch, state.shape[1])
    for slot, row in enumerate(state):
        runner.put(slot, row)
    parents = np.arange(batch)
    ids, torch_state = torch.from_numpy(token)[:, None], torch.from_numpy(state)

    def eager() -> None:
        with torch.inference_mode():
            model(ids, torch_state)

    feeds = {"token": token, "state": state}
    chunk = {"ids": np.tile(token[:, None], CHUNK), "lengths": np.full(batch, CHUNK, np.int32), "state": state}
    return {
        "pytorch": eager,
        "fp32": lambda: sessions["fp32"].run(None, feeds),
        "int8": lambda: sessions["int8"].run(None, feeds),
        "read": lambda: sessions["int8 advance"].run(None, chunk),
        "runner": lambda: runner.step(token, parents),
    }


def _rounds(variants: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Microseconds for one call of each variant in each round."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    counts: dict[str, int] = {}
    for name, call in variants.items():
        started = time.perf_counter()
        for _ in range(5):
            call()
        counts[name] = max(5, int(0.03 / ((time.perf_counter() - started) / 5)))
    for _ in range(ROUNDS):
        for name, call in variants.items():
            started = time.perf_counter()
            for _ in range(counts[name]):
                call()
            times[name].append((time.perf_counter() - started) / counts[name] * 1e6)
    return times
