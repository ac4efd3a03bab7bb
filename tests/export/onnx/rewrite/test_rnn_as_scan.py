import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.onnx.census import census
from export.onnx.graph import IR_VERSION, OPSET
from export.onnx.rewrite.rnn_as_scan import rnn_as_scan
from tests.export.graphs import run


def rnn_model(activation: str, *, both: bool, with_lengths: bool, time: int | str) -> onnx.ModelProto:
    generator = np.random.default_rng(0)
    directions = 2 if both else 1
    arrays = {"W": (directions, 6, 4), "R": (directions, 6, 6), "B": (directions, 12)}
    constants = [
        numpy_helper.from_array(generator.uniform(-0.5, 0.5, shape).astype(np.float32), name)
        for name, shape in arrays.items()
    ]
    node = helper.make_node(
        "RNN",
        ["x", "W", "R", "B", "lengths" if with_lengths else "", "initial"],
        ["y", "final"],
        hidden_size=6,
        direction="bidirectional" if both else "forward",
        activations=[activation] * directions,
    )
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [time, "batch", 4])]
    inputs.append(helper.make_tensor_value_info("initial", TensorProto.FLOAT, [directions, "batch", 6]))
    if with_lengths:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]))
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "final")]
    graph = helper.make_graph([node], "rnn", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


@pytest.mark.parametrize("activation", ["Tanh", "Relu"])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize("time", ["time", 1])
def test_the_scan_answers_as_the_operator_does(
    activation: str, both: bool, with_lengths: bool, time: int | str
) -> None:
    model = rnn_model(activation, both=both, with_lengths=with_lengths, time=time)
    steps = 1 if time == 1 else 5
    generator = np.random.default_rng(1)
    inputs = {
        "x": generator.standard_normal((steps, 3, 4)).astype(np.float32),
        "initial": generator.uniform(0, 1, (2 if both else 1, 3, 6)).astype(np.float32),
    }
    if with_lengths:
        inputs["lengths"] = np.array([steps, 1, min(3, steps)], np.int32)
    expected = run(model, inputs)
    rewritten = rnn_as_scan(model)
    assert "RNN" not in census(rewritten)
    assert ("Scan" in census(rewritten)) == (with_lengths or time != 1)
    found = run(rewritten, inputs)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
