"""The answer does not depend on the rest of the batch: `classify`, every kind, direction and pooling, fp32 and int8."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.bundle import Bundle
from models.cells import CELL_KINDS, CellKind
from runtime.onnxruntime.build import open_graph_set
from runtime.onnxruntime.run import OnnxSequenceRunner
from runtime.padding import padded

Built = Callable[..., Bundle]
VARIANTS: dict[str, dict[str, Any]] = {
    "mean": {},
    "max": {"pooling": "max"},
    "attention": {"pooling": "attention"},
    "last": {"pooling": "last"},
    "attention-forward": {"pooling": "attention", "bidirectional": False},
    "last-forward": {"pooling": "last", "bidirectional": False},
}
CASES = [
    pytest.param(kind, variant, name, id=f"{kind}-{variant}-{name}")
    for kind in CELL_KINDS
    for variant in VARIANTS
    for name in ("fp32", "int8")
    if kind == "lstm" or variant in ("mean", "attention-forward")
]
NUM_ROWS = 64


def texts(vocab_size: int) -> list[list[int]]:
    generator = np.random.default_rng(7)
    return [generator.integers(vocab_size, size=length).tolist() for length in generator.integers(1, 100, NUM_ROWS)]


def logits_of(runner: OnnxSequenceRunner, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return runner.run("classify", {"ids": ids, "lengths": lengths})["logits"]


@pytest.mark.parametrize(("kind", "variant", "set_name"), CASES)
def test_a_text_alone_and_among_64_of_other_lengths_gives_the_same_bytes(
    built_bundle: Built, kind: CellKind, variant: str, set_name: str
) -> None:
    bundle = built_bundle(kind, "sentiment", **VARIANTS[variant])
    runner = OnnxSequenceRunner(open_graph_set(bundle.graph_set(set_name)))
    batch = texts(bundle.config.vocab_size)
    together = logits_of(runner, *padded(batch))
    for row, text in enumerate(batch):
        assert logits_of(runner, *padded([text])).tobytes() == together[row].tobytes()


@pytest.mark.parametrize("set_name", ["fp32", "int8"])
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_without_the_padding_to_16_the_pooling_changes(built_bundle: Built, pooling: str, set_name: str) -> None:
    bundle = built_bundle("lstm", "sentiment", **({} if pooling == "mean" else VARIANTS[pooling]))
    runner = OnnxSequenceRunner(open_graph_set(bundle.graph_set(set_name)))
    batch = texts(bundle.config.vocab_size)
    together = logits_of(runner, *padded(batch))
    bare = [logits_of(runner, np.array([text]), np.array([len(text)], np.int32))[0] for text in batch]
    assert any(alone.tobytes() != row.tobytes() for alone, row in zip(bare, together, strict=True))
