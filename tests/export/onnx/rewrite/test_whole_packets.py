"""Functions of single numbers: the same bits alone and among others, by ONNX Runtime itself."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.onnx.graph import IR_VERSION, OPSET
from export.onnx.rewrite.whole_packets import IN_PACKETS, with_whole_packets

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
        assert num_changed(with_whole_packets(model), operator) == 0


def test_no_numbers_and_none_of_them_are_taken() -> None:
    session = onnxruntime.InferenceSession(
        with_whole_packets(model_of("Log")).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {"x": np.zeros((0, 1), np.float32), "is_inner": np.array(False)})
    assert [value.shape for value in found] == [(0, 1)] * 2
