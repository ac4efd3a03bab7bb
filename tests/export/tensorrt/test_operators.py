"""What TensorRT does not do is refused before a build: one test for each restriction, and none for graphs of ours."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.onnx.decode import BEAM, CHOOSE, DECODE, FILTERED
from export.tensorrt.operators import check_operators, refusals
from export.tensorrt.restrictions import RESTRICTED
from export.tensorrt.supported import OPERATORS
from models.bundle import Bundle
from models.errors import UnsupportedModelError

Built = Callable[..., Bundle]
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def value(name: str, dtype: int = FLOAT, shape: tuple[Any, ...] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def model(
    node: onnx.NodeProto,
    inputs: list[onnx.ValueInfoProto] | None = None,
    constants: dict[str, Any] | None = None,
    opset: int = 20,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node],
        "graph",
        inputs or [],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("own", 1)])


def node(operator: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [f"y{i}" for i in range(outputs)], name="it", **attributes)


def recurrent(operator: str, inputs: str = "x w r", **attributes: Any) -> onnx.NodeProto:
    names = [name if name != "-" else "" for name in inputs.split()]
    return node(operator, names, hidden_size=4, **attributes)


def body(num_states: int, num_outputs: int) -> onnx.GraphProto:
    names = [f"o{i}" for i in range(num_states + num_outputs)]
    nodes = [helper.make_node("Identity", [f"i{min(i, num_states)}"], [name]) for i, name in enumerate(names)]
    inputs = [value(f"i{i}") for i in range(num_states + 1)]
    return helper.make_graph(nodes, "body", inputs, [value(name) for name in names])


def loop_body() -> onnx.GraphProto:
    """One state and one scan output: (iteration, condition, state) -> (condition, state, output)."""
    inputs = [value("i", TensorProto.INT64, ()), value("go", TensorProto.BOOL, ()), value("s0")]
    outputs = [value("going", TensorProto.BOOL, ()), value("s1"), value("o")]
    nodes = [helper.make_node("Identity", [a], [b]) for a, b in (("go", "going"), ("s0", "s1"), ("s0", "o"))]
    return helper.make_graph(nodes, "body", inputs, outputs)


TIME = [value("x", FLOAT, ("time", 2, 3))]
HALVES = [value("x", HALF, ("time", 2, 3))]
CASES: dict[str, tuple[onnx.ModelProto, str]] = {
    "LSTM.input_forget": (model(recurrent("LSTM", input_forget=1)), "attribute input_forget is 1: only 0 is computed"),
    "LSTM.layout": (model(recurrent("LSTM", layout=1)), "attribute layout is 1.*time-major"),
    "GRU.layout": (model(recurrent("GRU", layout=1)), "attribute layout is 1"),
    "RNN.layout": (model(recurrent("RNN", layout=1)), "attribute layout is 1"),
    "LSTM.activations": (
        model(recurrent("LSTM", direction="bidirectional", activations=["Sigmoid", "Tanh", "Tanh"] + ["Relu"] * 3)),
        "attribute activations .* both directions have the same",
    ),
    "GRU.activations": (
        model(recurrent("GRU", direction="bidirectional", activations=["Sigmoid", "Tanh", "Sigmoid", "Relu"])),
        "attribute activations",
    ),
    "RNN.activations": (
        model(recurrent("RNN", direction="bidirectional", activations=["Tanh", "Relu"])),
        "attribute activations",
    ),
    "LSTM.sequence_lens": (model(recurrent("LSTM", "x w r - n h c"), HALVES), "sequence_lens is n.*X is FLOAT16"),
    "GRU.initial_h": (model(recurrent("GRU"), HALVES), "initial_h is absent.*X is FLOAT16"),
    "LSTM.initial_c": (model(recurrent("LSTM", "x w r - - h"), HALVES), "initial_h is absent"),
    "Scan.output": (model(node("Scan", ["s", "x"], 2, num_scan_inputs=1, body=body(1, 1)), TIME), "scan output is y1"),
    "Loop.output": (model(node("Loop", ["n", "", "s"], 2, body=loop_body())), "scan output is y1.*LSTM, GRU or RNN"),
    "TopK.sorted": (model(node("TopK", ["x", "k"], 2, sorted=0), TIME, {"k": [5]}), "attribute sorted is 0"),
    "TopK.K": (model(node("TopK", ["x", "k"], 2), TIME, {"k": [3840]}), "input K is 3840.* below 3840"),
    "TopK.dynamic": (model(node("TopK", ["x", "k"], 2), TIME), "input K is k: it must be a constant"),
    "CumSum.axis": (model(node("CumSum", ["x", "axis"])), "input axis is axis: it must be a constant"),
    "OneHot.depth": (model(node("OneHot", ["x", "depth", "values"])), "input depth"),
    "Squeeze.axes": (model(node("Squeeze", ["x", "axes"])), "input axes"),
    "Unsqueeze.axes": (model(node("Unsqueeze", ["x", "axes"])), "input axes"),
    "ReduceSum.axes": (model(node("ReduceSum", ["x", "axes"])), "input axes"),
    "ScatterND.reduction": (model(node("ScatterND", ["x", "i", "u"], reduction="add")), "reduction is add: only none"),
    "Dropout.training_mode": (
        model(node("Dropout", ["x", "ratio", "mode"]), constants={"mode": np.bool_(True)}),
        "training_mode.*evaluation mode",
    ),
    "Cast.to": (model(node("Cast", ["x"], to=TensorProto.DOUBLE)), "attribute to is DOUBLE"),
    "Constant.value_string": (model(node("Constant", [], value_string="a")), "attribute value_string"),
    "QuantizeLinear.zero_point": (
        model(node("QuantizeLinear", ["x", "s", "z"]), constants={"z": np.int8(3)}),
        "input y_zero_point.*constant 0",
    ),
    "DequantizeLinear.zero_point": (model(node("DequantizeLinear", ["x", "s", "z"])), "input x_zero_point"),
    "LayerNormalization.Mean": (model(node("LayerNormalization", ["x", "s"], 2)), "output Mean is y1"),
    "AveragePool.dilations": (
        model(node("AveragePool", ["x"], kernel_shape=[2, 2], dilations=[2, 1])),
        r"attribute dilations is \[2, 1\]",
    ),
    "AveragePool.kernel_shape": (model(node("AveragePool", ["x"], kernel_shape=[2])), "kernel_shape.*2 or 3"),
    "LpPool.dilations": (model(node("LpPool", ["x"], kernel_shape=[2, 2], dilations=[2, 2])), "dilations"),
    "MaxPool.dilations": (model(node("MaxPool", ["x"], kernel_shape=[2, 2], dilations=[1, 3])), "dilations"),
    "MaxPool.kernel_shape": (model(node("MaxPool", ["x"], kernel_shape=[2])), "kernel_shape"),
    "MaxPool.Indices": (model(node("MaxPool", ["x"], 2, kernel_shape=[2, 2])), "output Indices"),
    "Resize.mode": (model(node("Resize", ["x", "", "s"], mode="cubic")), "attribute mode is cubic"),
    "Resize.coordinates": (
        model(node("Resize", ["x", "", "s"], coordinate_transformation_mode="tf_crop_and_resize")),
        "coordinate_transformation_mode",
    ),
    "Resize.nearest_mode": (model(node("Resize", ["x", "", "s"], nearest_mode="odd")), "nearest_mode is odd"),
    "Resize.policy": (
        model(node("Resize", ["x", "", "s"], keep_aspect_ratio_policy="not_larger")),
        "keep_aspect_ratio_policy",
    ),
    "Resize.antialias": (model(node("Resize", ["x", "", "s"], antialias=1)), "antialias is 1"),
    "Attention.softcap": (model(node("Attention", ["q", "k", "v"], softcap=1.0)), "attribute softcap"),
    "Attention.mode": (model(node("Attention", ["q", "k", "v"], qk_matmul_output_mode=1)), "qk_matmul_output_mode"),
    "Attention.past": (model(node("Attention", ["q", "k", "v", "", "past"])), "input past_key is past"),
    "TensorScatter.axis": (model(node("TensorScatter", ["x", "u"], axis=1)), "attribute axis is 1"),
    "STFT.frame_step": (model(node("STFT", ["x", "step"])), "input frame_step"),
    "RandomNormal.seed": (model(node("RandomNormal", [], shape=[2], seed=1.0)), "seed .* ignored"),
    "RandomUniformLike.seed": (model(node("RandomUniformLike", ["x"], seed=1.0)), "seed"),
    "operator": (
        model(node("MatMulInteger", ["a", "b"])),
        "operator MatMulInteger is not read; export the set gpu-fp16",
    ),
    "domain": (model(node("Fancy", ["a"], domain="own")), "operator Fancy of domain own is not read"),
    "opset": (model(node("Relu", ["x"]), opset=26), "Opset 26 is not read: 9 to 24 are"),
    "type": (model(node("Add", ["a", "b"]), [value("a", TensorProto.DOUBLE)]), "value a is DOUBLE"),
}


@pytest.mark.parametrize("case", CASES)
def test_is_refused_by_name(case: str) -> None:
    graph, words = CASES[case]
    with pytest.raises(UnsupportedModelError, match=rf"TensorRT cannot run graph mine\. .*{words}"):
        check_operators("mine", graph)


def test_every_restricted_operator_has_a_case() -> None:
    tested = {case.partition(".")[0] for case in CASES}
    alike = {name for name in RESTRICTED if name.startswith(("Reduce", "Random"))}  # one restriction for all
    assert RESTRICTED - tested - alike == set()
    assert {"ReduceSum", "RandomNormal"} <= tested
    assert RESTRICTED <= OPERATORS


ALLOWED = [
    model(recurrent("LSTM", "x w r - n h c", direction="reverse"), TIME),
    model(recurrent("LSTM", "x w r - - h c"), HALVES),
    model(recurrent("GRU", linear_before_reset=1, layout=0), TIME),
    model(recurrent("RNN", direction="bidirectional", activations=["Relu", "Relu"]), TIME),
    model(node("Scan", ["s", "x"], num_scan_inputs=1, body=body(1, 0)), TIME),
    model(node("Scan", ["s", "x"], 2, num_scan_inputs=1, body=body(1, 1)), [value("x", FLOAT, (8, 2))]),
    model(node("Loop", ["n", "", "s"], 2, body=loop_body()), constants={"n": np.int64(4)}),
    model(node("TopK", ["x", "k"], 2), TIME, {"k": [50]}),
    model(node("QuantizeLinear", ["x", "s", "z"]), constants={"z": np.int8(0)}),
    model(node("ReduceSum", ["x"]), TIME),
    model(node("Cast", ["x"], to=HALF), TIME),
]


@pytest.mark.parametrize("allowed", ALLOWED, ids=[graph.graph.node[0].op_type for graph in ALLOWED])
def test_what_is_within_the_limits_passes(allowed: onnx.ModelProto) -> None:
    assert list(refusals(allowed)) == []


def test_a_node_inside_a_body_is_looked_at(built_bundle: Built) -> None:
    inner = body(1, 0)
    inner.node.append(helper.make_node("Multinomial", ["i0"], ["drawn"], name="draw"))
    found = list(refusals(model(node("Scan", ["s", "x"], num_scan_inputs=1, body=inner), TIME)))
    assert found == [
        "Node draw (Multinomial): operator Multinomial is not read; sample outside the graph; the server does."
    ]


@pytest.mark.parametrize("task", ["generation", "translation", "sentiment", "tagging"])
def test_the_int8_set_is_refused_and_lstm_graphs_in_float32_pass(built_bundle: Built, task: str) -> None:
    bundle = built_bundle("lstm", task)
    for name in bundle.graph_set("int8").manifest.graphs:
        with pytest.raises(UnsupportedModelError, match=r"gpu-fp16|is DOUBLE"):  # `choose` has float64 and no int8
            check_operators(name, onnx.load(str(bundle.graph_set("int8").graph(name))))
        if name in (DECODE, FILTERED, CHOOSE, BEAM):
            continue  # made for ONNX Runtime; the gpu- sets have none
        check_operators(name, onnx.load(str(bundle.graph_set("fp32").graph(name))))
