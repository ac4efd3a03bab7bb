"""Each planted fault is found by the real verify and named in its message; without a fault it finds none."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from export.build import build_sets, verify_set
from models.bundle import Bundle
from models.cells import CellKind
from tests.export.parity.damaged import Floats, damage, node_of, replace, square_blocks_turned, swapped

Copy = Callable[..., Bundle]


@pytest.fixture(scope="module")
def published(built_bundle: Callable[..., Bundle]) -> Callable[..., Bundle]:
    """A bundle with a graph set, built once."""

    @cache
    def build(kind: CellKind, set_name: str, task: str, **options: Any) -> Bundle:
        bundle = built_bundle(kind, task, **options)
        if set_name not in bundle.graph_sets:
            (report,) = build_sets(bundle, [set_name])
            assert report.faults == ()
        return bundle

    return build


@pytest.fixture
def built(published: Callable[..., Bundle], tmp_path: Path) -> Copy:
    """A copy of a bundle with a graph set, to be damaged."""

    def copy(kind: CellKind, set_name: str, task: str = "generation", **options: Any) -> Bundle:
        source = published(kind, set_name, task, **options)
        target = tmp_path / source.path.parent.name / source.path.name
        shutil.copytree(source.path, target)
        return Bundle(target)

    return copy


def failure(bundle: Bundle, set_name: str) -> str:
    report = verify_set(bundle, set_name)
    assert not report.is_passed
    return report.failure()


@pytest.mark.parametrize(("kind", "operator", "found"), [("lstm", "LSTM", "i, f, o, c"), ("gru", "GRU", "r, z, h")])
def test_swapped_gates_of_an_operator_are_named(built: Copy, kind: CellKind, operator: str, found: str) -> None:
    bundle = built(kind, "fp32")
    order = [0, 2, 1, 3] if kind == "lstm" else [1, 0, 2]

    def swap(model: onnx.ModelProto) -> None:
        replace(model, node_of(model, operator).input[2], swapped(order))

    damage(bundle, "fp32", "advance", swap)
    expected = "i, o, f, c" if kind == "lstm" else "z, r, h"
    message = failure(bundle, "fp32")
    assert f"has its gates in the order {found}; {expected} is expected (recurrent.layers.weight_hh_l0)" in message
    assert f"the recurrent weight of {operator} node" in message
    assert "in graph advance" in message


@pytest.mark.parametrize(
    ("set_name", "operator"), [("gpu-fp32", "Gemm"), ("gpu-fp16", "Gemm"), ("int8", "MatMulInteger")]
)
def test_swapped_gates_of_a_product_are_named(built: Copy, set_name: str, operator: str) -> None:
    bundle = built("gru", set_name)

    def swap(model: onnx.ModelProto) -> None:
        replace(model, node_of(model, operator).input[1], swapped([1, 0, 2], axis=-1))

    damage(bundle, set_name, "step", swap)
    message = failure(bundle, set_name)
    assert f"the weight of {operator} node" in message
    assert "has its gates in the order" in message


def test_a_missing_linear_before_reset_is_named(built: Copy) -> None:
    bundle = built("gru", "gpu-fp32", "sentiment")

    def drop(model: onnx.ModelProto) -> None:
        node = node_of(model, "GRU")
        kept = [item for item in node.attribute if item.name != "linear_before_reset"]
        del node.attribute[:]
        node.attribute.extend(kept)

    damage(bundle, "gpu-fp32", "classify", drop)
    assert "in graph classify misses linear_before_reset=1" in failure(bundle, "gpu-fp32")


def without_lengths(model: onnx.ModelProto) -> None:
    """As if every row were full: the operator gets no lengths, a Scan compares with a large number."""
    graph = model.graph
    for node in graph.node:
        if node.op_type in ("LSTM", "GRU", "RNN"):
            node.input[4] = ""
        elif node.op_type == "Unsqueeze" and node.input[0] == "lengths":
            node.input[0] = "full"
            shape = helper.make_node("Shape", ["lengths"], ["shape"])
            full = helper.make_tensor("value", onnx.TensorProto.INT32, [1], [1000])
            fill = helper.make_node("ConstantOfShape", ["shape"], ["full"], value=full)
            for added in (fill, shape):
                graph.node.insert(0, added)
            return


@pytest.mark.parametrize(
    ("kind", "set_name", "operator"),
    [("lstm", "fp32", "LSTM"), ("rnn-tanh", "fp32", "Scan"), ("gru", "int8", "Scan"), ("rnn-relu", "gpu-fp32", "RNN")],
)
def test_ignored_lengths_are_named(built: Copy, kind: CellKind, set_name: str, operator: str) -> None:
    bundle = built(kind, set_name, "sentiment", bidirectional=False, num_layers=1, pooling="last")
    damage(bundle, set_name, "classify", without_lengths)
    message = failure(bundle, set_name)
    assert f"{operator} node" in message
    assert "in graph classify ignores lengths" in message
    assert "reads padding as text" in message


def test_an_attention_without_its_mask_is_named(built: Copy) -> None:
    bundle = built("gru", "gpu-fp16", "translation")

    def unmask(model: onnx.ModelProto) -> None:
        softmax, where = node_of(model, "Softmax"), node_of(model, "Where")
        softmax.input[0] = where.input[1]

    damage(bundle, "gpu-fp16", "step", unmask)
    assert "in graph step ignores lengths (its scores are not masked)" in failure(bundle, "gpu-fp16")


def test_a_transposed_weight_is_named(built: Copy) -> None:
    bundle = built("lstm", "gpu-fp16", "translation")

    def turn(model: onnx.ModelProto) -> None:
        widened = node_of(model, "LSTM").input[2]
        cast = next(node for node in model.graph.node if widened in node.output)
        replace(model, cast.input[0], square_blocks_turned)

    damage(bundle, "gpu-fp16", "encode", turn)
    message = failure(bundle, "gpu-fp16")
    assert "the recurrent weight of LSTM node" in message
    assert "is transposed (encoder.layers.weight_hh_l0)" in message


@pytest.mark.parametrize("set_name", ["fp32", "int8"])
def test_a_transposed_linear_weight_is_named(built: Copy, set_name: str) -> None:
    """`keys` is square here, so nothing but its numbers shows it."""
    bundle = built("gru", set_name, "translation")
    operator = "MatMul" if set_name == "fp32" else "MatMulInteger"

    def turn(model: onnx.ModelProto) -> None:
        names = {tensor.name: tensor.dims for tensor in model.graph.initializer}
        nodes = [
            node
            for node in model.graph.node
            if node.op_type == operator and list(names.get(node.input[1], [])) == [40, 40]
        ]
        replace(model, nodes[-1].input[1], np.transpose)

    damage(bundle, set_name, "encode", turn)
    assert "is transposed (keys.weight)" in failure(bundle, set_name)


def test_an_altered_weight_is_named_with_its_parameter(built: Copy) -> None:
    bundle = built("rnn-tanh", "fp32")

    def alter(model: onnx.ModelProto) -> None:
        replace(model, node_of(model, "Gemm").input[1], lambda array: array * np.float32(1.01))

    damage(bundle, "fp32", "step", alter)
    assert "is none of the bundle's weights; it should be head.weight" in failure(bundle, "fp32")


def more_rows(array: Floats) -> Floats:
    return np.concatenate([array, array[:3]])


def test_a_wrong_vocabulary_is_named(built: Copy) -> None:
    bundle = built("lstm", "fp32")
    size = bundle.config.vocab_size

    def grow(model: onnx.ModelProto) -> None:
        replace(model, node_of(model, "Gather").input[0], more_rows)
        head = node_of(model, "Gemm")
        for name in head.input[1:]:
            replace(model, name, more_rows)
        logits = next(value for value in model.graph.output if value.name == "logits")
        logits.type.tensor_type.shape.dim[1].dim_value = size + 3

    damage(bundle, "fp32", "step", grow)
    message = failure(bundle, "fp32")
    assert f"the vocabulary is wrong: graph step gives {size + 3} logits, the model {size}" in message
    assert f"in graph step holds {size + 3} tokens, the model {size}" in message


@pytest.mark.parametrize("set_name", ["fp32", "gpu-fp16"])
def test_a_vocabulary_in_another_order_is_named(built: Copy, set_name: str) -> None:
    bundle = built("gru", set_name)

    def shuffle(model: onnx.ModelProto) -> None:
        replace(model, node_of(model, "Gather").input[0], lambda array: array[::-1])

    damage(bundle, set_name, "score", shuffle)
    message = failure(bundle, set_name)
    assert "has the rows of embedding.weight in another order, as of another vocabulary" in message


@pytest.mark.parametrize(
    ("kind", "factor", "consequence"),
    [
        ("lstm", 0.5, "values after tanh lie in [-1, 1]: larger ones are clipped"),
        ("gru", 4.0, "values after tanh lie in [-1, 1]: most levels are never used"),
        ("rnn-relu", 0.05, "are clipped"),
    ],
)
def test_a_wrong_int8_range_is_named(built: Copy, kind: CellKind, factor: float, consequence: str) -> None:
    bundle = built(kind, "int8")

    def rescale(model: onnx.ModelProto) -> None:
        replace(model, node_of(model, "QuantizeLinear").input[1], lambda array: array * np.float32(factor))

    damage(bundle, "int8", "step", rescale)
    message = failure(bundle, "int8")
    assert "the int8 range of QuantizeLinear node" in message
    assert "in graph step is [" in message
    assert consequence in message
