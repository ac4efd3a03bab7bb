"""The shipped model: its size, its files, and its loss on tiny Shakespeare's validation part through the graphs."""

import os
from pathlib import Path

import numpy as np
import pytest

from export.backends.onnxruntime.build import open_graph_set
from export.backends.onnxruntime.run import OnnxSequenceRunner
from export.build import build_sets
from models.bundle import Bundle
from models.store import Store

SHIPPED = Path("artifacts/shakespeare-char/1")
MAX_BYTES = 14_000_000
MAX_NATS_PER_CHARACTER = 1.45
INT8_RISE = 0.01
WINDOW = 1024


def validation_ids(bundle: Bundle) -> np.ndarray:
    folder = os.environ.get("RNNSERVE_DATA")
    if not folder:
        pytest.skip("RNNSERVE_DATA is not set: the validation text of tiny Shakespeare is not here")
    text = (Path(folder) / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    return np.array(bundle.tokenizer.encode(text[int(0.9 * len(text)) :]))


def nats_per_character(bundle: Bundle, set_name: str, ids: np.ndarray) -> float:
    """Mean -log p of every character but the first, the state carried through the whole text."""
    runner = OnnxSequenceRunner(open_graph_set(bundle.graph_set(set_name), graphs=["score"]))
    state = np.zeros((1, bundle.record.state_width), np.float32)
    total = 0.0
    for start in range(0, len(ids) - 1, WINDOW):
        targets = ids[start + 1 : start + 1 + WINDOW]
        window = ids[None, start : start + len(targets)].copy()
        lengths = np.array([len(targets)], np.int32)
        found = runner.run("score", {"ids": window, "lengths": lengths, "state": state})
        state = found["new_state"]
        logits = found["logits"][0].astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        chosen = logits[np.arange(len(targets)), targets]
        total += float((np.log(np.exp(logits).sum(axis=1)) - chosen).sum())
    return total / (len(ids) - 1)


def test_it_is_small_whole_and_serves_int8() -> None:
    bundle = Bundle(SHIPPED)
    assert bundle.graph_sets == ("int8",)
    bundle.graph_set("int8")
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < MAX_BYTES


def test_its_loss_through_the_exported_graphs_is_what_its_card_says(tmp_path: Path) -> None:
    bundle = Bundle(SHIPPED)
    ids = validation_ids(bundle)
    store = Store(tmp_path)
    with store.new_version("shakespeare-char") as (folder, target):  # the fp32 set is built beside, never shipped
        for name in (*bundle.record.files, "bundle.json"):
            (folder / name).write_bytes((SHIPPED / name).read_bytes())
    copy = Bundle(target)
    build_sets(copy, ["fp32"])
    fp32 = nats_per_character(copy, "fp32", ids)
    int8 = nats_per_character(bundle, "int8", ids)
    print(f"nats per character: fp32 {fp32:.4f}, int8 {int8:.4f}")
    assert fp32 <= MAX_NATS_PER_CHARACTER
    assert fp32 == pytest.approx(bundle.record.metrics["validation_nats_per_character"], abs=1e-3)
    assert int8 <= fp32 * (1 + INT8_RISE)
