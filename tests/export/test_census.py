import onnx
import pytest
from onnx import TensorProto, helper

from export.census import FORBIDDEN, census, check_census
from models.errors import ParityError


def model_with(operator: str, *, inside_a_body: bool) -> onnx.ModelProto:
    node = helper.make_node(operator, ["x"], ["y"])
    if inside_a_body:
        body = helper.make_graph([node], "body", [], [])
        node = helper.make_node("If", ["condition"], ["z"], then_branch=body, else_branch=body)
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph([node], "g", [value], []))


@pytest.mark.parametrize("operator", FORBIDDEN)
@pytest.mark.parametrize("inside_a_body", [False, True])
def test_an_operator_that_breaks_a_promise_is_refused_with_the_reason(operator: str, inside_a_body: bool) -> None:
    with pytest.raises(ParityError, match=f"{operator}: {FORBIDDEN[operator]}"):
        check_census("advance", model_with(operator, inside_a_body=inside_a_body))


def test_bodies_are_counted() -> None:
    assert census(model_with("Tanh", inside_a_body=True)) == {"If": 1, "Tanh": 2}
