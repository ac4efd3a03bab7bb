"""The answer does not depend on the rest of the batch: `encode` and the attention `step`, every kind, fp32 and int8."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.bundle import Bundle
from models.cells import CELL_KINDS, CellKind
from runtime.onnxruntime.attention_run import OnnxAttentionStepRunner
from runtime.onnxruntime.build import open_graph_set
from runtime.onnxruntime.run import OnnxSequenceRunner
from runtime.padding import padded, padded_length

Built = Callable[..., Bundle]
VARIANTS: dict[str, dict[str, Any]] = {
    "multiplicative": {},
    "additive-fed": {"attention": "additive", "attention_size": 28, "input_feeding": True},
    "forward": {"bidirectional": False, "tied_embeddings": False, "shared_embeddings": False, "bridge": "zero"},
}
CASES = [
    pytest.param(
        kind,
        variant,
        name,
        id=f"{kind}-{variant}-{name}",
        marks=pytest.mark.slow if kind in ("rnn-tanh", "rnn-relu") and name == "fp32" else (),
    )
    for kind in CELL_KINDS
    for variant in VARIANTS
    for name in ("fp32", "int8")
    if kind == "lstm" or variant != "forward"
]
NUM_ROWS = 64
NUM_STEPS = 6


class Opened:
    def __init__(self, bundle: Bundle, set_name: str) -> None:
        graphs = open_graph_set(bundle.graph_set(set_name))
        self.sequences = OnnxSequenceRunner(graphs)
        self.steps = OnnxAttentionStepRunner(graphs, 2 * NUM_ROWS, bundle.record.state_width)
        self.vocab_size = bundle.config.vocab_size
        generator = np.random.default_rng(5)
        lengths = generator.integers(1, 70, size=NUM_ROWS)
        self.sources = [generator.integers(self.vocab_size, size=length).tolist() for length in lengths]
        self.targets = generator.integers(self.vocab_size, size=(NUM_ROWS, NUM_STEPS))

    def encode(self, rows: list[int]) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Each row's first state and its memory, from one call over all of them."""
        ids, lengths = padded([self.sources[row] for row in rows])
        found = self.sequences.run("encode", {"ids": ids, "lengths": lengths})
        memories = [
            {name: found[name][place, : lengths[place]] for name in ("memory", "keys")} for place in range(len(rows))
        ]
        return list(zip(found["state"], memories, strict=True))

    def decode(self, rows: list[int]) -> list[bytes]:
        """All that each row's encoding and NUM_STEPS steps give, as bytes."""
        found = [b""] * len(rows)
        for place, (state, memory) in enumerate(self.encode(rows)):
            self.steps.put(place, state, memory)
            found[place] += state.tobytes() + memory["memory"].tobytes() + memory["keys"].tobytes()
        for column in range(NUM_STEPS):
            logits = self.steps.step(self.targets[rows, column].copy(), np.arange(len(rows)))
            for place, row in enumerate(rows):
                own = self.steps.attention[place, : len(self.sources[row])]
                found[place] += logits[place].tobytes() + own.tobytes() + self.steps.get(place).tobytes()
        return found


@pytest.mark.parametrize(("kind", "variant", "set_name"), CASES)
def test_a_row_alone_and_among_64_of_other_lengths_gives_the_same_bytes(
    built_bundle: Built, kind: CellKind, variant: str, set_name: str
) -> None:
    opened = Opened(built_bundle(kind, "translation", **VARIANTS[variant]), set_name)
    together = opened.decode(list(range(NUM_ROWS)))
    for row in range(NUM_ROWS):
        assert opened.decode([row]) == [together[row]]


@pytest.mark.parametrize("set_name", ["fp32", "int8"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_company_in_any_order_gives_the_same_bytes(built_bundle: Built, set_name: str, data: st.DataObject) -> None:
    opened = Opened(built_bundle("lstm", "translation"), set_name)
    row = data.draw(st.integers(0, NUM_ROWS - 1))
    others = data.draw(st.lists(st.integers(0, NUM_ROWS - 1), max_size=30))
    place = data.draw(st.integers(0, len(others)))
    assert opened.decode([*others[:place], row, *others[place:]])[place] == opened.decode([row])[0]


@pytest.mark.parametrize("set_name", ["fp32", "int8"])
def test_without_the_padding_to_16_the_attention_changes(built_bundle: Built, set_name: str) -> None:
    """What the padding is for: the same row, its memory cut to its own length, gives other bits."""
    bundle = built_bundle("lstm", "translation")
    session = open_graph_set(bundle.graph_set(set_name)).session("step")
    opened = Opened(bundle, set_name)
    changed = {"padded": 0, "bare": 0}
    longest = padded_length(70)
    for row, (state, memory) in enumerate(opened.encode(list(range(NUM_ROWS)))):
        length = len(opened.sources[row])
        token = opened.targets[row, :1]
        expected = stepped(session, token, state, memory, longest)
        changed["padded"] += stepped(session, token, state, memory, padded_length(length)) != expected
        changed["bare"] += stepped(session, token, state, memory, length) != expected
    assert changed["padded"] == 0
    assert changed["bare"] > 0


def stepped(session: Any, token: np.ndarray, state: np.ndarray, memory: dict[str, np.ndarray], positions: int) -> bytes:
    """One row's logits and attention, its memory followed by zeros up to so many positions."""
    length = len(memory["memory"])
    inputs = {
        name: np.concatenate([array, np.zeros((positions - length, array.shape[1]), np.float32)])[None]
        for name, array in memory.items()
    }
    inputs |= {"token": token, "state": state[None], "lengths": np.array([length], np.int32)}
    logits, _, attention = session.run(["logits", "new_state", "attention"], inputs)
    found: bytes = logits.tobytes() + attention[0, :length].tobytes()
    return found
