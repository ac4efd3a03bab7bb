"""The records of models.tasks say what the graphs really take and give."""

from collections.abc import Callable

import onnx
import pytest

from models.bundle import Bundle
from models.tasks import SENTIMENT, Tensor
from runtime.opening import CPU, open_set

SYMBOLIC = "BTSKWR"


def described(values: list[onnx.ValueInfoProto]) -> dict[str, tuple[str, list[int | None]]]:
    """Name -> dtype, and the size of each axis; None where it is free."""
    return {
        value.name: (
            str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)),
            [dim.dim_value or None for dim in value.type.tensor_type.shape.dim],
        )
        for value in values
    }


@pytest.mark.parametrize("set_name", ["fp32", "int8"])
@pytest.mark.parametrize("task", ["generation", "translation", "sentiment", "tagging"])
def test_graphs_take_and_give_what_their_record_says(
    built_bundle: Callable[..., Bundle], task: str, set_name: str
) -> None:
    bundle = built_bundle("gru", task)
    graph_set = bundle.graph_set(set_name)
    opened = {graph.name for graph in bundle.task.served_graphs(graph_set.manifest.graphs)}
    assert opened >= {graph.name for graph in bundle.task.graphs if graph.is_served and graph.is_required}

    for name in graph_set.manifest.graphs:
        model, record = onnx.load(str(graph_set.graph(name)), load_external_data=False), bundle.task.graph(name)
        assert described(model.graph.input) == recorded(record.inputs, bundle.sizes, model.graph.input)
        assert described(model.graph.output) == recorded(record.outputs, bundle.sizes, model.graph.output)


def recorded(
    tensors: tuple[Tensor, ...], sizes: dict[str, int], present: list[onnx.ValueInfoProto]
) -> dict[str, tuple[str, list[int | None]]]:
    """What `described` gives of the record's tensors, without the optional ones that are not there."""
    names = {value.name for value in present}
    return {
        tensor.name: (tensor.dtype, [None if axis in SYMBOLIC else sizes[axis] for axis in tensor.shape])
        for tensor in tensors
        if not tensor.is_optional or tensor.name in names
    }


def test_random_inputs_run_and_are_the_same_every_time(built_bundle: Callable[..., Bundle]) -> None:
    bundle = built_bundle("gru", "sentiment")
    first, second = (SENTIMENT.graphs[0].random_inputs(bundle.sizes, batch=3, length=20) for _ in range(2))
    assert first["ids"].shape == (3, 32)
    assert not first["ids"][:, 20:].any()
    assert all((first[name] == second[name]).all() for name in first)
    assert open_set(CPU, bundle, "fp32").sequences().run("classify", first)["logits"].shape == (3, 2)
