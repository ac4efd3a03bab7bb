import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.onnx.graph import IR_VERSION, OPSET
from export.onnx.rewrite.half_emulated import half_emulated
from export.onnx.rewrite.half_products import half_products
from models.errors import ExportError
from tests.export.graphs import run


def network(weight: np.ndarray, last: np.ndarray) -> onnx.ModelProto:
    """logits = (tanh(x W + b)) L: a product, and the last product."""
    nodes = [
        helper.make_node("Gemm", ["x", "weight", "bias"], ["sum"], name="first"),
        helper.make_node("Tanh", ["sum"], ["hidden"], name="tanh"),
        helper.make_node("MatMul", ["hidden", "last"], ["logits"], name="second"),
    ]
    arrays = {"weight": weight, "bias": np.full(weight.shape[1], 0.1, np.float32), "last": last}
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", len(weight)])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", last.shape[1]])]
    graph = helper.make_graph(nodes, "network", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def uniform(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).uniform(-1, 1, shape).astype(np.float32)


def test_weights_become_float16_and_nothing_else_does() -> None:
    model = half_products(network(uniform(8, 6), uniform(6, 5)))
    onnx.checker.check_model(model, full_check=True)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert types == {
        "weight.half": TensorProto.FLOAT16,
        "last.half": TensorProto.FLOAT16,
        "bias": TensorProto.FLOAT,
    }
    inferred = onnx.shape_inference.infer_shapes(model)
    dtypes = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    assert dtypes["sum"] == dtypes["hidden"] == TensorProto.FLOAT
    assert dtypes["sum.half"] == TensorProto.FLOAT16
    assert "logits.half" not in dtypes, "the last product sums and answers in float32"


def test_the_emulation_rounds_as_numpy_does() -> None:
    weight, last, x = uniform(8, 6), uniform(6, 5), uniform(3, 8)
    found = run(half_emulated(half_products(network(weight, last))), {"x": x})["logits"]
    product = x.astype(np.float16).astype(np.float32) @ weight.astype(np.float16).astype(np.float32)
    hidden = np.tanh(product.astype(np.float16).astype(np.float32) + np.float32(0.1))
    expected = hidden @ last.astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    exact = np.tanh(x @ weight + np.float32(0.1)) @ last
    assert np.abs(found - exact).max() > 1e-5


def test_a_weight_that_the_graph_turns_is_stored_as_float16_too() -> None:
    model = network(uniform(8, 6), uniform(5, 6))
    model.graph.node[2].input[1] = "turned"
    model.graph.node.insert(0, helper.make_node("Transpose", ["last"], ["turned"], name="turn", perm=[1, 0]))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5
    plain = run(model, {"x": uniform(3, 8)})["logits"]
    halved = half_products(model)
    assert {tensor.name for tensor in halved.graph.initializer} == {"weight.half", "last.half", "bias"}
    np.testing.assert_allclose(run(half_emulated(halved), {"x": uniform(3, 8)})["logits"], plain, atol=1e-2)


def test_a_weight_beyond_float16_is_refused_by_name() -> None:
    weight = uniform(8, 6)
    weight[2, 3] = 1e5
    with pytest.raises(ExportError, match=r"Weight weight holds 1e\+05; float16 ends at 65504. Use the set gpu-fp32"):
        half_products(network(weight, uniform(6, 5)))
