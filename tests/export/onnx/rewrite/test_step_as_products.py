from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.onnx.census import census
from export.onnx.graph import IR_VERSION, OPSET
from export.onnx.rewrite.step_as_products import step_as_products
from tests.export.graphs import run

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def layer(operator: str, *, time: int | str = 1, with_lengths: bool = False, **attributes: Any) -> onnx.ModelProto:
    generator = np.random.default_rng(0)
    gates = GATES[operator]
    shapes = {"W": (1, gates * 6, 4), "R": (1, gates * 6, 6), "B": (1, 2 * gates * 6)}
    constants = [
        numpy_helper.from_array(generator.uniform(-0.5, 0.5, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    constants.append(numpy_helper.from_array(np.array([0], np.int64), "axis"))
    states = ["h", "c"] if operator == "LSTM" else ["h"]
    if operator == "GRU":
        attributes["linear_before_reset"] = 1
    lengths = "lengths" if with_lengths else ""
    recurrent = helper.make_node(
        operator,
        ["x3", "W", "R", "B", lengths, *(f"{s}3" for s in states)],
        ["y", *(f"new_{s}" for s in states)],
        hidden_size=6,
        **attributes,
    )
    views = [
        helper.make_node("Unsqueeze", [name, "axis"], [f"{name}3"]) for name in (["x"] if time == 1 else []) + states
    ]
    inputs = [helper.make_tensor_value_info(state, TensorProto.FLOAT, ["batch", 6]) for state in states]
    shape: list[int | str] = ["batch", 4] if time == 1 else [time, "batch", 4]
    inputs.append(helper.make_tensor_value_info("x" if time == 1 else "x3", TensorProto.FLOAT, shape))
    if with_lengths:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]))
    names = ["y", *(f"new_{state}" for state in states)]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    graph = helper.make_graph([*views, recurrent], "layer", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [("LSTM", {}), ("GRU", {}), ("RNN", {}), ("RNN", {"activations": ["Relu"]}), ("LSTM", {"with_lengths": True})],
    ids=["lstm", "gru", "rnn-tanh", "rnn-relu", "lstm with lengths"],
)
def test_one_step_in_products_answers_as_the_operator_does(operator: str, attributes: dict[str, Any]) -> None:
    model = layer(operator, **attributes)
    generator = np.random.default_rng(1)
    inputs: dict[str, Any] = {
        value.name: generator.uniform(-1, 1, (3, 4 if value.name == "x" else 6)).astype(np.float32)
        for value in model.graph.input
    }
    if "with_lengths" in attributes:
        inputs["lengths"] = np.ones(3, np.int32)  # of one step there are no others
    expected = run(model, inputs)
    rewritten = step_as_products(model)
    onnx.checker.check_model(rewritten, full_check=True)
    counts = census(rewritten)
    assert not counts.keys() & {"LSTM", "GRU", "RNN", "Scan", "Loop", "Squeeze"}
    assert counts["Gemm"] == (2 if operator == "GRU" else 1)
    found = run(rewritten, inputs)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6)


@pytest.mark.parametrize("change", [{"time": "time"}, {"time": "time", "with_lengths": True}, {"time": 2}], ids=str)
def test_more_than_one_step_keeps_the_operator(change: dict[str, Any]) -> None:
    assert census(step_as_products(layer("LSTM", **change)))["LSTM"] == 1
