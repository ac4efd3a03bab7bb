"""A row's bits whatever stands beside it, by ONNX Runtime itself: functions of single numbers, and sums."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.onnx.graph import IR_VERSION, OPSET
from export.onnx.rewrite.row_bits import IN_PACKETS, with_row_bits

Floats = NDArray[np.float32]

# Every operator of one number that PyTorch's exporter writes.
_NAMES = """
Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish LeakyRelu Log Mish
Neg Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh ThresholdedRelu
"""
OPERATORS = tuple(_NAMES.split())


def model_of(operator: str) -> onnx.ModelProto:
    """x float32 [n, 1] to y, of the same shape; once in the main graph, once in a branch."""
    inner = helper.make_graph(
        [helper.make_node(operator, ["x"], ["inner"])],
        "inner",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    copied = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["same"])],
        "same",
        [],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, None)],
    )
    graph = helper.make_graph(
        [
            helper.make_node(operator, ["x"], ["y"]),
            helper.make_node("If", ["is_inner"], ["z"], then_branch=inner, else_branch=copied),
        ],
        "graph",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1]),
            helper.make_tensor_value_info("is_inner", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "yz"],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def num_changed(model: onnx.ModelProto, operator: str) -> int:
    """Of many pieces, those whose numbers have other bits than among all."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    numbers = np.random.default_rng(0).standard_normal((2000, 1)).astype(np.float32)
    if operator in ("Acos", "Asin", "Atanh"):
        numbers = np.tanh(numbers)
    if operator in ("Log", "Sqrt", "Acosh"):
        numbers = np.abs(numbers) + np.float32(operator == "Acosh")

    def answers(piece: Floats) -> Floats:
        found = np.stack(session.run(None, {"x": piece, "is_inner": np.array(True)}))
        assert found.shape == (2, *piece.shape)
        result: Floats = found
        return result

    whole = answers(numbers)
    pieces = [(start, start + 1 + start % 37) for start in range(150)]
    return sum(answers(numbers[a:b]).tobytes() != whole[:, a:b].tobytes() for a, b in pieces)


@pytest.mark.parametrize("operator", OPERATORS)
def test_those_in_packets_are_made_whole_and_no_others_need_it(operator: str) -> None:
    model = model_of(operator)
    assert bool(num_changed(model, operator)) == (operator in IN_PACKETS)
    if operator in IN_PACKETS:
        assert num_changed(with_row_bits(model), operator) == 0


def test_no_numbers_and_none_of_them_are_taken() -> None:
    session = onnxruntime.InferenceSession(
        with_row_bits(model_of("Log")).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {"x": np.zeros((0, 1), np.float32), "is_inner": np.array(False)})
    assert [value.shape for value in found] == [(0, 1)] * 2


def sum_of(operator: str, axes: list[str | int], axis: int, keepdims: int) -> onnx.ModelProto:
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
@pytest.mark.parametrize(("shape", "axis"), [((33, 7), 1), ((64, 6), -1), ((64, 5, 7), 2), ((64, 16, 33), 1)])
def test_a_row_has_the_same_bits_alone_and_among_others(
    operator: str, keepdims: int, shape: tuple[int, ...], axis: int
) -> None:
    x = (np.random.default_rng(0).random(shape) ** 3).astype(np.float32)
    model = with_row_bits(sum_of(operator, ["batch", *shape[1:]], axis, keepdims))
    assert operator not in {node.op_type for node in model.graph.node}
    whole = run(model, x)
    function = np.sum if operator == "ReduceSum" else np.mean
    np.testing.assert_allclose(whole, function(x, axis=axis, keepdims=bool(keepdims)), rtol=1e-6)
    assert not num_other_rows(model, x)


def num_other_rows(model: onnx.ModelProto, x: Floats) -> int:
    """Of many pieces of a batch, those whose numbers have other bits than in the batch."""
    whole = run(model, x)
    pieces = [(start, start + count) for start in range(0, 40, 3) for count in (1, 2, 3, 5, 8, 17)]
    return sum(run(model, x[start:stop].copy()).tobytes() != whole[start:stop].tobytes() for start, stop in pieces)


def test_the_runtimes_own_sums_depend_on_the_batch() -> None:
    x = (np.random.default_rng(0).random((33, 7)) ** 3).astype(np.float32)
    assert num_other_rows(sum_of("ReduceSum", ["batch", 7], 1, 1), x)


@pytest.mark.parametrize(("axes", "axis"), [(["batch", "time"], 1), (["batch", 6], 0), (["batch", "time", 5], 1)])
def test_sums_over_free_axes_and_the_batch_stay(axes: list[str | int], axis: int) -> None:
    model = with_row_bits(sum_of("ReduceSum", axes, axis, 1))
    assert [node.op_type for node in model.graph.node] == ["ReduceSum"]
