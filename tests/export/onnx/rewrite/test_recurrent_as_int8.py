"""Traced LSTM and GRU nodes as quantised cells: near the float32 graph, the same bits alone and in a batch."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from export.onnx.census import census
from export.onnx.rewrite.recurrent_as_int8 import recurrent_as_int8
from export.trace.stack import stack_graph
from models.config import RecurrentConfig
from models.network.recurrent import RecurrentStack

Floats = NDArray[np.float32]
LENGTHS = np.array([9, 1, 4, 9, 7], np.int32)


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def run(model: onnx.ModelProto, **inputs: Any) -> list[Floats]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[Floats] = session.run(None, inputs)
    return found


def stack(kind: str, *, bidirectional: bool = False) -> tuple[onnx.ModelProto, int]:
    torch.manual_seed(3)
    config = RecurrentConfig(kind=kind, input_size=6, hidden_size=20, num_layers=2, bidirectional=bidirectional)
    layers = RecurrentStack(config)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.mul_(2)
    return stack_graph(layers.eval()), config.state_size


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_it_is_near_the_float32_graph_and_the_same_alone_padded_and_in_pieces(kind: str, bidirectional: bool) -> None:
    exact, width = stack(kind, bidirectional=bidirectional)
    rounded = recurrent_as_int8(copied(exact))
    counts = census(rounded)
    assert counts["MatMulInteger"] >= (3 if not bidirectional else 4)
    assert not counts["LSTM"] + counts["GRU"]

    generator = np.random.default_rng(0)
    inputs = generator.standard_normal((len(LENGTHS), 9, 6)).astype(np.float32) * 3
    state = generator.uniform(-0.9, 0.9, (len(LENGTHS), width)).astype(np.float32)
    given = {"inputs": inputs, "state": state, "lengths": LENGTHS}
    expected, found = run(exact, **given), run(rounded, **given)
    for one, other in zip(found, expected, strict=True):
        assert 0 < np.abs(one - other).mean() < 0.02
    is_past = np.arange(9) >= LENGTHS[:, None]
    assert not found[0][is_past].any()
    for index, length in enumerate(LENGTHS):
        row = {"inputs": inputs[index : index + 1, :length], "state": state[index : index + 1]}
        outputs, last = run(rounded, **row, lengths=LENGTHS[index : index + 1])
        assert outputs[0].tobytes() == found[0][index, :length].tobytes()
        assert last[0].tobytes() == found[1][index].tobytes()
    if bidirectional:
        return
    ends = np.minimum(LENGTHS, 1)
    first, middle = run(rounded, inputs=inputs[:, :1], state=state, lengths=ends)
    rest, last = run(rounded, inputs=inputs[:, 1:], state=middle, lengths=np.maximum(LENGTHS - 1, 0).astype(np.int32))
    is_longer = LENGTHS > 1
    assert first[:, 0].tobytes() == found[0][:, 0].tobytes()
    assert rest[is_longer].tobytes() == found[0][is_longer, 1:].tobytes()
    assert last[is_longer].tobytes() == found[1][is_longer].tobytes()


def test_cells_that_are_not_bounded_or_not_known_stay() -> None:
    exact, _ = stack("rnn-relu")
    rounded = recurrent_as_int8(copied(exact))
    assert rounded.SerializeToString() == exact.SerializeToString()
