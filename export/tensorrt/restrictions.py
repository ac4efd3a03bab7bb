"""What TensorRT restricts of the operators that it reads: attributes, outputs, and inputs that must be constants.

Sources: the operator matrix of TensorRT's ONNX parser 11.0, and of its importer of recurrent operators that it never
reads `layout` of GRU and RNN and builds its masks in float32, which a strongly typed network refuses beside float16.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

RECURRENT = ("LSTM", "GRU", "RNN")
_GATES = {"LSTM": 3, "GRU": 2, "RNN": 1}  # activations of one direction
_MAX_TOPK = 3840


@dataclass(frozen=True)
class Facts:
    """What is known of a graph's values.

    Attributes:
        constants: of those that are constant.
        types: element types, TensorProto.DataType, where known.
        shapes: where known, a dynamic axis being None.
    """

    constants: dict[str, NDArray[Any]]
    types: dict[str, int]
    shapes: dict[str, tuple[int | None, ...]]


@dataclass(frozen=True)
class Complaint:
    """One thing that TensorRT does not do.

    Attributes:
        what: "attribute layout", "input axis", "output Indices".
        value: what it is.
        why: what is allowed.
        instead: what to do.
    """

    what: str
    value: Any
    why: str
    instead: str


_Restriction = Callable[[onnx.NodeProto, dict[str, Any], Facts], Iterator[Complaint]]


def complaints(node: onnx.NodeProto, facts: Facts) -> Iterator[Complaint]:
    """What TensorRT does not do of a node whose operator it reads."""
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    for restriction in _RESTRICTIONS.get(node.op_type, ()):
        yield from restriction(node, attributes, facts)


def _only(attribute: str, allowed: tuple[Any, ...], instead: str, *, default: Any = None) -> _Restriction:
    """The attribute is absent or one of these."""

    def check(_: onnx.NodeProto, attributes: dict[str, Any], __: Facts) -> Iterator[Complaint]:
        value = attributes.get(attribute, default)
        value = value.decode() if isinstance(value, bytes) else value
        if value is not None and value not in allowed:
            words = " or ".join(str(item) for item in allowed)
            yield Complaint(f"attribute {attribute}", value, f"only {words} is computed", instead)

    return check


def _absent(attribute: str, why: str, instead: str) -> _Restriction:
    def check(_: onnx.NodeProto, attributes: dict[str, Any], __: Facts) -> Iterator[Complaint]:
        if attribute in attributes:
            yield Complaint(f"attribute {attribute}", attributes[attribute], why, instead)

    return check


def _all_ones(attribute: str) -> _Restriction:
    def check(_: onnx.NodeProto, attributes: dict[str, Any], __: Facts) -> Iterator[Complaint]:
        value = list(attributes.get(attribute, []))
        if any(item != 1 for item in value):
            yield Complaint(f"attribute {attribute}", value, "it must be all ones", "pool without dilation")

    return check


def _planar(attribute: str) -> _Restriction:
    def check(_: onnx.NodeProto, attributes: dict[str, Any], __: Facts) -> Iterator[Complaint]:
        value = list(attributes.get(attribute, []))
        if value and len(value) not in (2, 3):
            yield Complaint(
                f"attribute {attribute}", value, "pooling has 2 or 3 dimensions", "add an axis of size 1 in front"
            )

    return check


def _constant(index: int, name: str) -> _Restriction:
    """The input, where it is given, is a constant."""

    def check(node: onnx.NodeProto, _: dict[str, Any], facts: Facts) -> Iterator[Complaint]:
        value = node.input[index] if len(node.input) > index else ""
        if value and value not in facts.constants:
            yield Complaint(f"input {name}", value, "it must be a constant", "store it as an initializer")

    return check


def _zero(index: int, name: str) -> _Restriction:
    def check(node: onnx.NodeProto, _: dict[str, Any], facts: Facts) -> Iterator[Complaint]:
        value = node.input[index] if len(node.input) > index else ""
        if value and (value not in facts.constants or np.any(facts.constants[value].astype(np.float64))):
            yield Complaint(f"input {name}", value, "it must be a constant 0", "quantise symmetrically")

    return check


def _no_output(index: int, name: str, instead: str) -> _Restriction:
    def check(node: onnx.NodeProto, _: dict[str, Any], __: Facts) -> Iterator[Complaint]:
        if len(node.output) > index and node.output[index]:
            yield Complaint(f"output {name}", node.output[index], "it is not computed", instead)

    return check


def _no_input(index: int, name: str, instead: str) -> _Restriction:
    def check(node: onnx.NodeProto, _: dict[str, Any], __: Facts) -> Iterator[Complaint]:
        if len(node.input) > index and node.input[index]:
            yield Complaint(f"input {name}", node.input[index], "it is not read", instead)

    return check


def _same_activations(node: onnx.NodeProto, attributes: dict[str, Any], _: Facts) -> Iterator[Complaint]:
    names = [name.decode() for name in attributes.get("activations", [])]
    half = _GATES[node.op_type]
    if attributes.get("direction") == b"bidirectional" and names[:half] != names[half:]:
        yield Complaint(
            "attribute activations",
            names,
            "both directions have the same ones",
            "write two nodes, one for each direction, and concatenate",
        )


def _float_masks(node: onnx.NodeProto, _: dict[str, Any], facts: Facts) -> Iterator[Complaint]:
    """A recurrent node in float16 has masks and default states in float32 beside it."""
    dtype = facts.types.get(node.input[0])
    if dtype not in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        return
    name = TensorProto.DataType.Name(dtype)
    instead = "cast its input to float32 and its output back, as the set gpu-fp16 does"
    if len(node.input) > 4 and node.input[4]:
        yield Complaint("input sequence_lens", node.input[4], f"masks are float32, and X is {name}", instead)
    needed = (5, 6) if node.op_type == "LSTM" else (5,)
    if not all(len(node.input) > index and node.input[index] for index in needed):
        yield Complaint("input initial_h", "absent", f"default states are float32, and X is {name}", instead)


def _fixed_scan_outputs(node: onnx.NodeProto, attributes: dict[str, Any], facts: Facts) -> Iterator[Complaint]:
    """Outputs that grow with the number of iterations have a length that is known when the engine is built."""
    num_scanned = attributes["num_scan_inputs"]
    num_states = len(node.input) - num_scanned
    scanned = node.input[num_states:]
    axes = attributes.get("scan_input_axes", [0] * num_scanned)
    lengths = [facts.shapes.get(name, (None,) * (axis + 1))[axis] for name, axis in zip(scanned, axes, strict=True)]
    if len(node.output) > num_states and None in lengths:
        yield Complaint(
            "scan output",
            node.output[num_states],
            "its length must be known when the engine is built",
            "use LSTM, GRU or RNN, as the gpu- sets do",
        )


def _fixed_trips(node: onnx.NodeProto, attributes: dict[str, Any], facts: Facts) -> Iterator[Complaint]:
    num_carried = len(attributes["body"].output) - 1
    is_fixed = node.input[0] in facts.constants and not node.input[1]
    states = max(0, len(node.input) - 2)
    if num_carried > states and not is_fixed:
        yield Complaint(
            "scan output",
            node.output[states],
            "its length must be known when the engine is built",
            "use LSTM, GRU or RNN, as the gpu- sets do",
        )


def _few(node: onnx.NodeProto, _: dict[str, Any], facts: Facts) -> Iterator[Complaint]:
    constant = facts.constants.get(node.input[1]) if len(node.input) > 1 else None
    if constant is None or int(constant.reshape(-1)[0]) >= _MAX_TOPK:
        value = node.input[1] if constant is None else int(constant.reshape(-1)[0])
        yield Complaint("input K", value, f"it must be a constant below {_MAX_TOPK}", "select outside the graph")


def _inference(node: onnx.NodeProto, _: dict[str, Any], facts: Facts) -> Iterator[Complaint]:
    name = node.input[2] if len(node.input) > 2 else ""
    if name and (name not in facts.constants or bool(facts.constants[name])):
        yield Complaint("input training_mode", name, "it must be a constant false", "export in evaluation mode")


def _castable(_: onnx.NodeProto, attributes: dict[str, Any], __: Facts) -> Iterator[Complaint]:
    allowed = ("FLOAT", "FLOAT16", "BFLOAT16", "INT32", "INT64", "UINT8", "BOOL")
    name = TensorProto.DataType.Name(attributes["to"])
    if name not in allowed:
        yield Complaint("attribute to", name, f"types are {', '.join(allowed)}", "use float32 for double")


_LAYOUT = _only("layout", (0,), "transpose the input to time-major")
_SEED = _absent("seed", "it is ignored, so numbers differ from run to run", "draw random numbers outside the graph")
_RESTRICTIONS: dict[str, tuple[_Restriction, ...]] = {
    "LSTM": (
        _only("input_forget", (0,), "write the coupled gates with operators"),
        _LAYOUT,
        _same_activations,
        _float_masks,
    ),
    "GRU": (_LAYOUT, _same_activations, _float_masks),
    "RNN": (_LAYOUT, _same_activations, _float_masks),
    "Scan": (_fixed_scan_outputs,),
    "Loop": (_fixed_trips,),
    "TopK": (_only("sorted", (1,), "sort, or select outside the graph", default=1), _few),
    "CumSum": (_constant(1, "axis"),),
    "OneHot": (_constant(1, "depth"),),
    "Squeeze": (_constant(1, "axes"),),
    "Unsqueeze": (_constant(1, "axes"),),
    "ScatterND": (_only("reduction", ("none",), "add after gathering instead"),),
    "Dropout": (_inference,),
    "Cast": (_castable,),
    "Constant": tuple(
        _absent(name, "only dense numbers are read", "store a dense tensor")
        for name in ("sparse_value", "value_string", "value_strings")
    ),
    "QuantizeLinear": (_zero(2, "y_zero_point"),),
    "DequantizeLinear": (_zero(2, "x_zero_point"),),
    "LayerNormalization": (
        _no_output(1, "Mean", "compute it beside"),
        _no_output(2, "InvStdDev", "compute it beside"),
    ),
    "AveragePool": (_all_ones("dilations"), _planar("kernel_shape")),
    "LpPool": (_all_ones("dilations"),),
    "MaxPool": (_all_ones("dilations"), _planar("kernel_shape"), _no_output(1, "Indices", "use ArgMax")),
    "Resize": (
        _only(
            "coordinate_transformation_mode",
            ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners"),
            "choose one of them",
        ),
        _only("mode", ("nearest", "linear"), "interpolate linearly"),
        _only("nearest_mode", ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"), "choose one of them"),
        _only("keep_aspect_ratio_policy", ("stretch",), "compute the sizes outside"),
        _only("antialias", (0,), "filter before"),
    ),
    "Attention": (
        *(_absent(name, "it is not computed", "write it with MatMul") for name in ("softcap", "qk_matmul_output_mode")),
        *(_no_input(index, name, "concatenate before") for index, name in ((4, "past_key"), (5, "past_value"))),
    ),
    "TensorScatter": (_only("axis", (-2,), "transpose before", default=-2),),
    "STFT": (_constant(1, "frame_step"), _constant(2, "window")),
    **dict.fromkeys(("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"), (_SEED,)),
    **{
        f"Reduce{kind}": (_constant(1, "axes"),)
        for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    },
}
RESTRICTED = frozenset(_RESTRICTIONS)
