"""int8 against fp32 over whole sequences: size, speed and loss for every cell kind (2 layers of 512).

Each model is a character model trained for a minute here, on text that ships inside Python (training.data.texts), so
that its weights and states are those of training and not of a random start; the loss is nats per token on the text's
last tenth, in pieces of T tokens from the zero state. Speed is of `advance`, as prompts are read, one thread; the two
sets take turns and a ratio is the median of the rounds' ratios.

    python -m benchmarks precision          or of some cells: python -m benchmarks.precision lstm gru
"""

import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.report import Report
from benchmarks.rounds import in_turn, ratio
from export.onnx.int8.language_model import QuantizedLanguageModel
from export.onnx.rewrite.graph_sets import graph_set_from_traced
from export.onnx.weights import save_graphs
from export.parity.errors import nats
from export.trace.language_model import language_model_graphs
from models.cells import CELL_KINDS, CellKind
from models.config import LanguageModelConfig
from models.network.language_model import LanguageModel
from models.tokenizer import Tokenizer
from runtime.onnxruntime.build import open_session
from training.data.texts import builtin

Ids = NDArray[np.int64]

TIMES = (16, 64, 256)
BATCHES = (1, 16, 64)
ROUNDS = 5
SECONDS = 0.05  # of each set in a round, or one call
NUM_CHARACTERS = 200_000
STEPS, LANES, WINDOW, LEARNING_RATE = 100, 16, 64, 3e-3
SCORED_TOKENS = 16_384  # of the held-out tenth, at every T


def main(kinds: tuple[str, ...] = CELL_KINDS) -> Report:
    """Train, measure, print the table, end in one JSON line.

    Args:
        kinds: which cells.
    """
    torch.set_num_threads(1)
    columns = ("cell", "T", "fp32 MB", "int8 MB", "fp32 nats", "int8 nats", "rise")
    speeds = [f"us/token B={batch}, fp32 / int8" for batch in BATCHES]
    table = Table(*columns, *speeds, title="int8 against fp32, 2 x 512, one thread", title_justify="left")
    results: list[dict[str, Any]] = []
    for kind in CELL_KINDS:
        if kind not in kinds:
            continue
        for row in _measured(kind):
            results.append(row)
            table.add_row(
                kind,
                str(row["time"]),
                *(f"{row[f'{name}_bytes'] / 1e6:.1f}" for name in ("fp32", "int8")),
                *(f"{row[f'{name}_nats']:.4f}" for name in ("fp32", "int8")),
                f"{row['rise']:+.3%}",
                *(f"{row[f'int8_us_{batch}']:.1f}, {row[f'fp32_over_int8_{batch}']:.2f}x" for batch in BATCHES),
            )
    return Report("precision", [table], {"cells": results})


def _measured(kind: CellKind) -> list[dict[str, Any]]:
    """One row for each T."""
    model, held_out = _trained(kind)
    weights = {name: value.detach().numpy() for name, value in model.named_parameters()}
    sets = {
        "fp32": graph_set_from_traced("fp32", language_model_graphs(model)),
        "int8": QuantizedLanguageModel(model.config, weights).graphs(),
    }
    sessions: dict[str, dict[str, Any]] = {}
    sizes: dict[str, int] = {}
    for name, graphs in sets.items():
        with tempfile.TemporaryDirectory() as folder:
            save_graphs(Path(folder), graphs)
            sizes[name] = sum(file.stat().st_size for file in Path(folder).iterdir())
            sessions[name] = {graph: open_session(Path(folder) / f"{graph}.onnx") for graph in ("advance", "score")}
    rows = []
    for time in TIMES:
        row: dict[str, Any] = {"cell": kind, "time": time}
        for name in sets:
            row[f"{name}_bytes"] = sizes[name]
            row[f"{name}_nats"] = _loss(sessions[name]["score"], held_out, time, model.config)
        row["rise"] = row["int8_nats"] / row["fp32_nats"] - 1
        for batch in BATCHES:
            feeds = _feeds(held_out[: batch * time].reshape(batch, time), model.config)
            calls = {name: _Call(sessions[name]["advance"], feeds) for name in sets}
            times = in_turn(calls, ROUNDS, SECONDS)
            for name, values in times.items():
                row[f"{name}_us_{batch}"] = median(values) / (batch * time)
            row[f"fp32_over_int8_{batch}"] = ratio(times, "fp32", "int8")
        rows.append(row)
    return rows


class _Call:
    """One run of a session."""

    def __init__(self, session: Any, feeds: dict[str, Any]) -> None:
        self._session = session
        self._feeds = feeds

    def __call__(self) -> object:
        return self._session.run(None, self._feeds)


def _feeds(ids: Ids, config: LanguageModelConfig) -> dict[str, Any]:
    state = np.zeros((len(ids), config.state_size), np.float32)
    return {"ids": ids, "lengths": np.full(len(ids), ids.shape[1], np.int32), "state": state}


def _loss(session: Any, held_out: Ids, time: int, config: LanguageModelConfig) -> float:
    """Nats per token of pieces of the held-out text, every token but a piece's first."""
    pieces = held_out[:SCORED_TOKENS].reshape(-1, time)
    losses = []
    for start in range(0, len(pieces), 64):
        ids = np.ascontiguousarray(pieces[start : start + 64])
        (logits,) = session.run(["logits"], _feeds(ids, config))
        losses.append(nats(logits[:, :-1], ids[:, 1:], np.ones(ids[:, 1:].shape, np.bool_)))
    return float(np.mean(losses))


def _trained(kind: CellKind) -> tuple[LanguageModel, Ids]:
    """A model after a short training, and ids of text that it has not seen."""
    text = builtin(0.1, NUM_CHARACTERS)
    tokenizer = Tokenizer.character(text.train)
    ids = np.array(tokenizer.encode(text.train[0]), np.int64)
    torch.manual_seed(0)
    config = LanguageModelConfig(
        vocab_size=tokenizer.vocab_size, embedding_size=256, kind=kind, hidden_size=512, num_layers=2
    )
    model = LanguageModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    lanes = torch.from_numpy(ids[: len(ids) // LANES * LANES].reshape(LANES, -1))
    state = model.recurrent.zero_state(LANES)
    for step in range(STEPS):
        piece = lanes[:, step * WINDOW : (step + 1) * WINDOW + 1]
        logits, state = model(piece[:, :-1], state.detach())
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), piece[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    print(f"{kind}: trained to {loss.item():.2f} nats per character", file=sys.stderr)
    held_out = np.array(tokenizer.encode(text.validation[0]), np.int64)
    return model.eval(), held_out


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or CELL_KINDS)
