from pathlib import Path

import numpy as np
import onnx

from export.onnx.graph import OnnxGraph
from export.onnx.weights import ALIGNMENT, save_graphs
from runtime.onnxruntime.build import open_session


def graph_of(weight: np.ndarray, name: str) -> onnx.ModelProto:
    graph = OnnxGraph(name)
    value = graph.input("x", np.float32, ["batch", weight.shape[0]])
    product = graph.node("MatMul", value, graph.constant(weight))
    graph.output(graph.node("Add", product, graph.constant(np.float32(1))), "y", np.float32, ["batch", weight.shape[1]])
    return graph.model()


def test_graphs_share_their_weights_and_load_by_path(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    shared = generator.standard_normal((33, 17)).astype(np.float32)
    other = generator.standard_normal((17, 33)).astype(np.float32)
    save_graphs(tmp_path, {"a": graph_of(shared, "a"), "b": graph_of(other, "b"), "c": graph_of(shared, "c")})
    padded = -(-shared.nbytes // ALIGNMENT) * ALIGNMENT
    assert (tmp_path / "weights.bin").stat().st_size == padded + other.nbytes
    for name, weight in (("a", shared), ("b", other), ("c", shared)):
        value = generator.standard_normal((2, weight.shape[0])).astype(np.float32)
        (found,) = open_session(tmp_path / f"{name}.onnx").run(None, {"x": value})
        np.testing.assert_allclose(found, value @ weight + 1, rtol=1e-5, atol=1e-5)
        model = onnx.load(str(tmp_path / f"{name}.onnx"), load_external_data=False)
        entries = [{e.key: e.value for e in t.external_data} for t in model.graph.initializer if t.external_data]
        assert [int(entry["offset"]) % ALIGNMENT for entry in entries] == [0]
