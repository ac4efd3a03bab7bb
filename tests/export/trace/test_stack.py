"""One exported file per cell kind, depth and direction answers every batch and time as PyTorch does."""

from collections.abc import Callable
from functools import cache

import numpy as np
import onnxruntime as ort
import pytest
import torch

from export.onnx.census import check_census
from export.onnx.weights import save_graphs
from export.trace.stack import stack_graph
from models.cells import CELL_KINDS, CellKind
from models.config import RecurrentConfig
from models.network.recurrent import RecurrentStack
from runtime.onnxruntime.build import open_session

CASES = [
    pytest.param(kind, depth, both, id=f"{kind}-{depth}-{'both' if both else 'forward'}")
    for kind in CELL_KINDS
    for depth in (1, 3)
    for both in (False, True)
]
BATCHES = (1, 2, 5, 64)
TIMES = (1, 2, 7, 64)
TOLERANCE = 1e-5


Opened = tuple[RecurrentStack, ort.InferenceSession]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[CellKind, int, bool], Opened]:
    """A stack and the session over its one exported file, traced once a case."""

    @cache
    def export_and_open(kind: CellKind, depth: int, both: bool) -> Opened:
        torch.manual_seed(1)
        config = RecurrentConfig(kind=kind, input_size=9, hidden_size=16, num_layers=depth, bidirectional=both)
        stack = RecurrentStack(config).eval()
        graph = stack_graph(stack)
        check_census("stack", graph)
        folder = tmp_path_factory.mktemp("stack")
        save_graphs(folder, {"stack": graph})
        return stack, open_session(folder / "stack.onnx")

    return export_and_open


@pytest.mark.parametrize(("kind", "depth", "both"), CASES)
def test_one_file_answers_every_shape_as_pytorch_does_with_packed_sequences(
    kind: CellKind, depth: int, both: bool, opened: Callable[[CellKind, int, bool], Opened]
) -> None:
    stack, session = opened(kind, depth, both)
    generator = np.random.default_rng(2)
    for batch in BATCHES:
        for time in TIMES:
            ragged = generator.integers(1, time + 1, size=batch)
            ragged[generator.integers(batch)] = time
            for lengths in (ragged, np.full(batch, time), np.ones(batch, np.int64)):
                inputs = generator.standard_normal((batch, time, 9)).astype(np.float32)
                state = generator.uniform(-1, 1, (batch, stack.config.state_size)).astype(np.float32)
                with torch.inference_mode():
                    tensors = (torch.from_numpy(array) for array in (inputs, state, lengths))
                    outputs, new_state = stack(*tensors)
                feeds = {"inputs": inputs, "state": state, "lengths": lengths.astype(np.int32)}
                found, found_state = session.run(["outputs", "new_state"], feeds)
                assert np.abs(found - outputs.numpy()).max() <= TOLERANCE
                assert np.abs(found_state - new_state.numpy()).max() <= TOLERANCE


@pytest.mark.parametrize(("kind", "depth", "both"), CASES)
@pytest.mark.parametrize("padding", [np.nan, np.inf, 1e30], ids=str)
def test_answers_do_not_depend_on_what_the_padding_holds(
    kind: CellKind, depth: int, both: bool, padding: float, opened: Callable[[CellKind, int, bool], Opened]
) -> None:
    stack, session = opened(kind, depth, both)
    generator = np.random.default_rng(3)
    lengths = np.array([7, 1, 4, 6, 2], np.int32)
    inputs = generator.standard_normal((5, 7, 9)).astype(np.float32)
    is_padding = np.arange(7) >= lengths[:, None]
    state = np.zeros((5, stack.config.state_size), np.float32)
    answers = []
    for held in (0.0, padding):
        inputs[is_padding] = held
        answers.append(session.run(None, {"inputs": inputs, "state": state, "lengths": lengths}))
    for first, second in zip(*answers, strict=True):
        assert np.array_equal(first, second)
    assert not answers[0][0][is_padding].any()
