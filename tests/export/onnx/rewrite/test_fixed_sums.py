"""Sums over fixed axes as products: PyTorch's numbers, and a row's bits whatever stands beside it."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.onnx.graph import IR_VERSION, OPSET
from export.onnx.rewrite.fixed_sums import with_fixed_sums

Floats = NDArray[np.float32]


def model_of(operator: str, axes: list[object], axis: int, keepdims: int) -> onnx.ModelProto:
    """x to y; axes as x is declared."""
    node = helper.make_node(operator, ["x", "axis"], ["y"], keepdims=keepdims)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, axes)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "graph", [x], [y], [numpy_helper.from_array(np.array([axis], np.int64), "axis")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def run(model: onnx.ModelProto, x: Floats) -> Floats:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: Floats = session.run(None, {"x": x})[0]
    return found


@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMean"])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(("shape", "axis"), [((64, 6), 1), ((64, 6), -1), ((64, 5, 7), 2), ((64, 16, 33), 1)])
def test_a_row_has_the_same_bits_alone_and_among_others(
    operator: str, keepdims: int, shape: tuple[int, ...], axis: int
) -> None:
    x = np.abs(np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    model = with_fixed_sums(model_of(operator, ["batch", *shape[1:]], axis, keepdims))
    assert operator not in {node.op_type for node in model.graph.node}
    whole = run(model, x)
    function = np.sum if operator == "ReduceSum" else np.mean
    np.testing.assert_allclose(whole, function(x, axis=axis, keepdims=bool(keepdims)), rtol=1e-6)
    for start in range(0, 40, 3):
        for count in (1, 2, 3, 5, 8, 17):
            assert run(model, x[start : start + count]).tobytes() == whole[start : start + count].tobytes()


@pytest.mark.parametrize(("axes", "axis"), [(["batch", "time"], 1), (["batch", 6], 0), (["batch", "time", 5], 1)])
def test_sums_over_free_axes_and_the_batch_stay(axes: list[object], axis: int) -> None:
    model = with_fixed_sums(model_of("ReduceSum", axes, axis, 1))
    assert [node.op_type for node in model.graph.node] == ["ReduceSum"]
