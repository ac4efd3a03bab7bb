import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.onnx.graph import OnnxGraph
from export.onnx.int8.linear import (
    TANH_EDGE,
    WEIGHT_LEVELS,
    Edge,
    QuantizedLinear,
    channel_scales,
    positive_edge,
    quantize,
    quantized_weight,
    signed_edge,
)
from tests.export.graphs import run


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_the_nodes_compute_what_numpy_computes_in_integers(width: int, outputs: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal((width, outputs)).astype(np.float32)
    bias = generator.standard_normal(outputs).astype(np.float32)
    value = generator.uniform(-1.2, 1.2, (3, width)).astype(np.float32)
    graph = OnnxGraph("linear")
    name = graph.input("value", np.float32, ["batch", width])
    linear = QuantizedLinear(graph, weight, bias, [(TANH_EDGE, width)])
    graph.output(linear(graph, quantize(graph, name, TANH_EDGE)), "result", np.float32, ["batch", outputs])
    scaled = weight * np.float32(TANH_EDGE.scale)
    scales = channel_scales(scaled)
    integers = TANH_EDGE.quantized(value).astype(np.int32) - 128
    product = integers @ quantized_weight(scaled, scales).astype(np.int32)
    expected = product.astype(np.float32) * scales + bias
    assert np.array_equal(run(graph.model(), {"value": value})["result"], expected)


def test_segments_of_different_ranges_share_one_product() -> None:
    generator = np.random.default_rng(0)
    edges = [(positive_edge(4.0), 6), (positive_edge(0.5), 5)]
    weight = generator.standard_normal((11, 3)).astype(np.float32)
    parts = [generator.uniform(0, 4.0, (2, 6)), generator.uniform(0, 0.5, (2, 5))]
    value = np.concatenate(parts, axis=1).astype(np.float32)
    graph = OnnxGraph("segments")
    names = graph.split(graph.input("value", np.float32, ["batch", 11]), [6, 5])
    quantized = [quantize(graph, name, edge) for name, (edge, _) in zip(names, edges, strict=True)]
    linear = QuantizedLinear(graph, weight, None, edges)
    graph.output(linear(graph, graph.node("Concat", *quantized, axis=1)), "result", np.float32, ["batch", 3])
    found = run(graph.model(), {"value": value})["result"]
    np.testing.assert_allclose(found, value @ weight, atol=0.1)


@pytest.mark.parametrize("edge", [signed_edge(1.0), signed_edge(3.0), positive_edge(2.0)])
def test_an_edge_is_exact_to_half_a_step_and_saturates_outside(edge: Edge) -> None:
    low = -edge.zero_point * edge.scale
    high = (255 - edge.zero_point) * edge.scale
    values = np.linspace(low, high, 1000).astype(np.float32)
    back = (edge.quantized(values).astype(np.float32) - edge.zero_point) * np.float32(edge.scale)
    assert np.abs(back - values).max() <= edge.scale * 0.5001
    assert edge.quantized(np.array([low - 9, high + 9], np.float32)).tolist() == [0, 255]


def test_zero_and_one_are_exact_under_the_tanh_edge() -> None:
    quantized = TANH_EDGE.quantized(np.array([-1, 0, 1], np.float32))
    assert ((quantized.astype(np.float64) - 128) * TANH_EDGE.scale).tolist() == [-1.0, 0.0, 1.0]


def test_a_column_of_zeros_stays_zero() -> None:
    weight = np.zeros((4, 2), np.float32)
    assert not quantized_weight(weight, channel_scales(weight)).any()


def test_pairs_of_products_fit_in_16_bits_so_that_every_cpu_sums_them_exactly() -> None:
    weight = np.random.default_rng(0).standard_normal((50, 20)).astype(np.float32)
    largest = int(np.abs(quantized_weight(weight, channel_scales(weight)).astype(int)).max())
    assert largest == WEIGHT_LEVELS
    assert 2 * 255 * largest <= np.iinfo(np.int16).max
