import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.onnx.census import census, check_census, forbidden_operators
from models.errors import ParityError


def model_with(operator: str, *, inside_a_body: bool) -> onnx.ModelProto:
    node = helper.make_node(operator, ["x"], ["y"])
    if inside_a_body:
        body = helper.make_graph([node], "body", [], [])
        node = helper.make_node("If", ["condition"], ["z"], then_branch=body, else_branch=body)
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph([node], "g", [value], []))


CASES = [
    pytest.param(set_name, graph, operator, reason, id=f"{set_name}-{graph}-{operator}")
    for set_name, graph in (("fp32", "step"), ("int8", "advance"), ("gpu-fp32", "advance"), ("gpu-fp16", "step"))
    for operator, reason in forbidden_operators(set_name, graph).items()
]


@pytest.mark.parametrize(("set_name", "graph", "operator", "reason"), CASES)
@pytest.mark.parametrize("inside_a_body", [False, True])
def test_an_operator_that_breaks_a_promise_is_refused_with_the_reason(
    set_name: str, graph: str, operator: str, reason: str, inside_a_body: bool
) -> None:
    model = model_with(operator, inside_a_body=inside_a_body)
    with pytest.raises(ParityError, match=f"{operator}: {reason}|1 If: a CUDA graph"):
        check_census(graph, model, set_name)


def test_what_a_gpu_sequence_needs_a_cpu_set_and_a_gpu_step_may_not_hold() -> None:
    rnn, scan = model_with("RNN", inside_a_body=False), model_with("Scan", inside_a_body=False)
    assert check_census("advance", rnn, "gpu-fp32") == {"RNN": 1}
    assert check_census("advance", scan, "fp32") == {"Scan": 1}
    for graph, model, set_name in (("advance", rnn, "fp32"), ("step", rnn, "gpu-fp32"), ("advance", scan, "gpu-fp16")):
        with pytest.raises(ParityError):
            check_census(graph, model, set_name)


@pytest.mark.parametrize("graph", ["decode", "decode_filtered", "choose"])
def test_only_graphs_that_choose_may_sum_a_rows_weights(graph: str) -> None:
    model = model_with("ReduceSum", inside_a_body=False)
    assert check_census(graph, model) == {"ReduceSum": 1}
    with pytest.raises(ParityError, match="ReduceSum"):
        check_census("step", model)
    with pytest.raises(ParityError, match="ReduceMean"):
        check_census(graph, model_with("ReduceMean", inside_a_body=False))


def test_a_float32_weight_or_a_float16_boundary_is_refused_in_gpu_fp16() -> None:
    model = model_with("Tanh", inside_a_body=False)
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "weight")
    model.graph.initializer.append(weight)
    with pytest.raises(ParityError, match="weight in float32"):
        check_census("step", model, "gpu-fp16")
    check_census("step", model, "gpu-fp32")
    del model.graph.initializer[:]
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    with pytest.raises(ParityError, match="x in float16: boundaries are float32"):
        check_census("step", model, "gpu-fp16")


def test_bodies_are_counted() -> None:
    assert census(model_with("Tanh", inside_a_body=True)) == {"If": 1, "Tanh": 2}
