"""The answer does not depend on the rest of the batch: `tag`, every kind and direction, fp32 and int8, with fields."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.bundle import Bundle
from models.cells import CELL_KINDS, CellKind
from models.config import TaggerConfig
from runtime.onnxruntime.build import open_graph_set
from runtime.onnxruntime.run import OnnxSequenceRunner
from runtime.padding import padded

Built = Callable[..., Bundle]
VARIANTS: dict[str, dict[str, Any]] = {
    "fields": {},
    "many": {"fields_like": "wide"},
    "plain": {"fields_like": "none"},
    "forward": {"bidirectional": False},
    "crf": {"crf": True},
}
CASES = [
    pytest.param(kind, variant, name, id=f"{kind}-{variant}-{name}")
    for kind in CELL_KINDS
    for variant in VARIANTS
    for name in ("fp32", "int8")
    if kind == "lstm" or variant == "fields"
]
NUM_ROWS = 64


def texts(num_ids: int) -> list[list[int]]:
    generator = np.random.default_rng(7)
    return [generator.integers(num_ids, size=length).tolist() for length in generator.integers(1, 100, NUM_ROWS)]


@pytest.mark.parametrize(("kind", "variant", "set_name"), CASES)
def test_a_text_alone_and_among_64_of_other_lengths_gives_the_same_bytes(
    built_bundle: Built, kind: CellKind, variant: str, set_name: str
) -> None:
    bundle = built_bundle(kind, "tagging", **VARIANTS[variant])
    assert (bundle.crf is not None) == (variant == "crf")
    runner = OnnxSequenceRunner(open_graph_set(bundle.graph_set(set_name)))
    assert isinstance(bundle.config, TaggerConfig)
    batch = texts(bundle.config.num_ids)
    ids, lengths = padded(batch)
    together = runner.run("tag", {"ids": ids, "lengths": lengths})["logits"]
    for row, text in enumerate(batch):
        own_ids, own_lengths = padded([text])
        alone = runner.run("tag", {"ids": own_ids, "lengths": own_lengths})["logits"][0, : len(text)]
        assert alone.tobytes() == together[row, : len(text)].tobytes()


def test_a_field_too_large_for_a_table_is_a_product_in_int8(built_bundle: Built) -> None:
    notes = built_bundle("lstm", "tagging", fields_like="wide").graph_set("int8").manifest.notes
    assert notes["folded_input_tables"] == [True, False, False, True]
