"""`decode` against steps and the graph `choose`: the same tokens, logits and states, to the bit."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from export.build import build_sets
from export.onnx.census import census
from export.onnx.decode import choose_graph, greedy_decode, sampled_decode, with_decode
from export.onnx.graph import OnnxGraph
from export.onnx.weights import save_graphs
from export.parity.decode import FIGURE
from models.bundle import Bundle
from models.cells import CELL_KINDS, CellKind
from models.decoding.inverse_cdf import NARROW
from runtime.onnxruntime.build import open_graph_set, open_session
from runtime.opening import CPU, open_set
from tests.export.graphs import run
from tests.tiny_models import tiny_bundle

Built = Callable[..., Bundle]
Arrays = dict[str, NDArray[Any]]
Run = Callable[[str, Arrays], Arrays]
SETS = ("fp32", "int8")
CUTS = [[15], [1, 2, 4, 8], [8, 4, 2, 1], [1] * 15]  # the same steps in windows of several lengths
NUM_STEPS = 15
OPTIONS = ("temperature", "min_p", "top_k", "top_p")


def runner(bundle: Bundle, set_name: str) -> Run:
    graphs = open_graph_set(bundle.graph_set(set_name))

    def run_graph(name: str, inputs: Arrays) -> Arrays:
        names = [item.name for item in graphs.session(name).get_outputs()]
        return dict(zip(names, graphs.session(name).run(names, inputs), strict=True))

    return run_graph


def in_memory(graphs: Mapping[str, onnx.ModelProto]) -> Run:
    return lambda name, inputs: run(graphs[name], inputs)


def generation_rows(num_rows: int, vocab_size: int, width: int) -> Arrays:
    """Rows of all kinds of options; every third begins with five forced tokens."""
    generator = np.random.default_rng(3)
    forced = np.full((NUM_STEPS, num_rows), -1)
    forced[:5, ::3] = generator.integers(vocab_size, size=forced[:5, ::3].shape)
    return {
        "token": generator.integers(vocab_size, size=num_rows),
        "state": generator.uniform(-0.5, 0.5, (num_rows, width)).astype(np.float32),
        "forced": forced,
        "uniforms": generator.random((NUM_STEPS, num_rows)),
        "temperature": np.resize([1, 0, 0.6, 1.7], num_rows).astype(np.float32),
        "min_p": np.resize([0, 0, 0.1], num_rows).astype(np.float32),
        "top_k": np.resize([0, 0, 0, 0, 3], num_rows).astype(np.int64),
        "top_p": np.resize([1, 1, 1, 1, 1, 0.6], num_rows),
    }


def windows(run_graph: Run, graph: str, rows: Arrays, cuts: list[int]) -> tuple[Arrays, NDArray[np.float32]]:
    """Outputs of each step, joined over the windows, and the last state."""
    rows, stepped = dict(rows), {name for name in ("forced", "uniforms", "can_end") if name in rows}
    found: list[Arrays] = []
    start = 0
    for num_steps in cuts:
        window = {name: array[start : start + num_steps] if name in stepped else array for name, array in rows.items()}
        found.append(run_graph(graph, window))
        rows |= {"token": found[-1]["tokens"][-1], "state": found[-1].pop("new_state")}
        start += num_steps
    return {name: np.concatenate([each[name] for each in found]) for name in found[0]}, rows["state"]


def steps(run_graph: Run, rows: Arrays) -> tuple[Arrays, NDArray[np.float32]]:
    """The same by single steps and `choose`."""
    token, state = rows["token"], rows["state"]
    found: Arrays = {"tokens": np.zeros_like(rows["forced"])}
    logits = []
    for step in range(NUM_STEPS):
        answer = run_graph("step", {"token": token, "state": state})
        state = answer["new_state"]
        options = {name: rows[name] for name in OPTIONS if name in rows} | {
            name: rows[name][step] for name in ("uniforms", "can_end") if name in rows
        }
        chosen = run_graph("choose", {"logits": answer["logits"], **options})["tokens"]
        token = np.where(rows["forced"][step] >= 0, rows["forced"][step], chosen)
        found["tokens"][step] = token
        logits.append(answer["logits"])
    return found | {"logits": np.stack(logits)}, state


def assert_same(found: tuple[Arrays, NDArray[Any]], expected: tuple[Arrays, NDArray[Any]]) -> None:
    assert found[0].keys() == expected[0].keys()
    for name, array in expected[0].items():
        assert found[0][name].tobytes() == array.tobytes(), name
    assert found[1].tobytes() == expected[1].tobytes()


def of_row(rows: Arrays, row: int) -> Arrays:
    """One row of the inputs, or of the outputs of steps."""
    return {
        name: array[row : row + 1]
        if name in ("token", "state", "memory", "keys", "lengths", *OPTIONS)
        else array[:, row : row + 1]
        for name, array in rows.items()
    }


def without_filters(rows: Arrays) -> Arrays:
    return {name: array for name, array in rows.items() if name not in OPTIONS[1:]}


@pytest.mark.parametrize("set_name", SETS)
@pytest.mark.parametrize("kind", CELL_KINDS)
def test_windows_of_any_length_give_what_steps_and_choose_give(
    built_bundle: Built, kind: CellKind, set_name: str
) -> None:
    bundle = built_bundle(kind)
    run_graph = runner(bundle, set_name)
    rows = generation_rows(11, bundle.sizes["V"], bundle.sizes["D"])
    expected, state = steps(run_graph, rows)
    for cuts in CUTS:
        assert_same(windows(run_graph, "decode_filtered", rows, cuts), (expected, state))
    for row, cuts in zip(range(11), CUTS * 3, strict=False):  # alone, by the graph without filters where it uses none
        own, graph = of_row(rows, row), "decode_filtered"
        if not own["min_p"] and not own["top_k"] and own["top_p"] == 1:
            own, graph = without_filters(own), "decode"
        assert_same(windows(run_graph, graph, own, cuts), (of_row(expected, row), state[row : row + 1]))


@pytest.mark.parametrize("set_name", SETS)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, {}) for kind in CELL_KINDS),
        ("lstm", {"attention": "additive", "attention_size": 28, "input_feeding": True}),
    ],
)
def test_a_translators_windows_give_the_likeliest_tokens_of_its_steps(
    built_bundle: Built, kind: CellKind, options: dict[str, Any], set_name: str
) -> None:
    bundle = built_bundle(kind, "translation", **options)
    run_graph = runner(bundle, set_name)
    generator = np.random.default_rng(4)
    lengths = np.array([3, 32, 17, 1, 9], np.int32)
    encoded = run_graph("encode", {"ids": generator.integers(bundle.sizes["V"], size=(5, 32)), "lengths": lengths})
    forced = np.full((NUM_STEPS, 5), -1)
    forced[2, 1:3] = 4
    rows = {"token": np.zeros(5, np.int64), "forced": forced, "lengths": lengths, **encoded}
    token, state = rows["token"], encoded["state"]
    fixed = {name: rows[name] for name in ("memory", "keys", "lengths")}
    tokens, log_probabilities, attention = [], [], []
    for step in range(NUM_STEPS):
        answer = run_graph("step", {"token": token, "state": state, **fixed})
        state, logits = answer["new_state"], answer["logits"].astype(np.float64)
        z = logits - logits.max(axis=1, keepdims=True)
        log_probabilities.append(-np.log(np.exp(z).sum(axis=1)))
        token = np.where(forced[step] >= 0, forced[step], logits.argmax(axis=1))
        tokens.append(token)
        attention.append(answer["attention"])
    whole, whole_state = windows(run_graph, "decode", rows, [NUM_STEPS])
    assert whole["tokens"].tolist() == np.stack(tokens).tolist()
    assert whole["attention"].tobytes() == np.stack(attention).tobytes()
    assert whole_state.tobytes() == state.tobytes()
    np.testing.assert_allclose(whole["log_probability"], np.stack(log_probabilities), rtol=1e-5, atol=1e-5)
    for cuts in CUTS[1:]:
        assert_same(windows(run_graph, "decode", rows, cuts), (whole, whole_state))
    for row, cuts in enumerate(CUTS):
        own = of_row(rows, row)
        assert_same(windows(run_graph, "decode", own, cuts), (of_row(whole, row), whole_state[row : row + 1]))


def small_step(
    vocab_size: int, *, is_split: bool = True, is_kept: bool = False, has_memory: bool = False
) -> onnx.ModelProto:
    """A step of a state of two parts, its logits a row of a table and a little of the state.

    Args:
        vocab_size: V. Token 1 leads to a NaN, token 2 to nothing but -infinity.
        is_split: whether the row is split as a whole; else its parts are sliced out of it.
        is_kept: whether the second part is left as it is.
        has_memory: as a translator's.
    """
    generator = np.random.default_rng(0)
    table = (2 * generator.standard_normal((vocab_size, vocab_size))).astype(np.float32)
    table[1, vocab_size - 1] = np.nan
    table[2] = -np.inf
    graph = OnnxGraph("step")
    token = graph.input("token", np.int64, ["batch"])
    state = graph.input("state", np.float32, ["batch", 6])
    if has_memory:
        memory = graph.input("memory", np.float32, ["batch", "source", 2])
        graph.input("keys", np.float32, ["batch", "source", 2])
        graph.input("lengths", np.int32, ["batch"])
    if is_split:
        h, c = graph.split(state, [3, 3])
    else:
        numbers = [graph.constant(np.array([number], np.int64)) for number in (0, 3, 6, 1)]
        h, c = (graph.node("Slice", state, *numbers[i : i + 2], numbers[3]) for i in range(2))
    embedded = graph.node(
        "Gather", graph.constant(generator.standard_normal((vocab_size, 3)).astype(np.float32)), token
    )
    new_h = graph.node("Tanh", graph.node("Add", graph.node("Add", h, c), embedded))
    new_c = c if is_kept else graph.node("Tanh", graph.node("Sub", c, embedded))
    largest = graph.node("ReduceMax", new_h, graph.constant(np.array([1], np.int64)), keepdims=1)
    logits = graph.node("Add", graph.node("Gather", graph.constant(table), token), largest)
    graph.output(logits, "logits", np.float32, ["batch", vocab_size])
    graph.output(graph.node("Concat", new_h, new_c, axis=1), "new_state", np.float32, ["batch", 6])
    if has_memory:
        attention = graph.node("ReduceMax", memory, graph.constant(np.array([2], np.int64)), keepdims=0)
        graph.output(attention, "attention", np.float32, ["batch", "source"])
    return graph.model()


def operators_in_loop(decode: onnx.ModelProto) -> set[str]:
    (scan,) = (node for node in decode.graph.node if node.op_type == "Scan")
    return {node.op_type for attribute in scan.attribute for node in attribute.g.node}


@pytest.mark.parametrize("vocab_size", [12, 300])
@pytest.mark.parametrize(("is_split", "is_kept"), [(True, False), (False, False), (True, True), (False, True)])
def test_a_state_that_is_not_split_is_carried_whole(vocab_size: int, is_split: bool, is_kept: bool) -> None:
    """Steps of users' modules take the row apart in other ways; the bits are the same either way."""
    graphs = with_decode({"step": small_step(vocab_size, is_split=is_split, is_kept=is_kept)}, end_id=None)
    inside = operators_in_loop(graphs["decode"])
    assert ("Split" in inside, "Concat" in inside) == ((False, False) if is_split else (False, True))
    rows = generation_rows(9, vocab_size, 6)
    rows["forced"][rows["forced"] >= 0] += 3  # no token that leads to what is not finite
    rows["forced"] %= vocab_size
    if vocab_size > NARROW:
        rows = {name: array for name, array in rows.items() if name not in ("top_k", "top_p")}
    expected, state = steps(in_memory(graphs), rows)
    if vocab_size > NARROW:
        del expected["logits"]
    for cuts in CUTS:
        assert_same(windows(in_memory(graphs), "decode_filtered", rows, cuts), (expected, state))


@pytest.mark.parametrize("vocab_size", [12, 300])
def test_a_row_that_is_not_finite_is_shown_and_leaves_the_others_alone(vocab_size: int) -> None:
    graphs = {"decode": sampled_decode(small_step(vocab_size), None)}
    rows = without_filters(generation_rows(6, vocab_size, 6))
    rows["forced"][:] = -1
    rows["token"][:] = 5
    healthy, state = windows(in_memory(graphs), "decode", rows, [NUM_STEPS])
    rows["forced"][3, 1], rows["forced"][3, 4] = 1, 2
    found, new_state = windows(in_memory(graphs), "decode", rows, [NUM_STEPS])
    assert found["tokens"][3, [1, 4]].tolist() == [1, 2]
    assert found["tokens"][4, [1, 4]].tolist() == [-1, -1]
    others = [0, 2, 3, 5]
    assert (found["tokens"][:, others] == healthy["tokens"][:, others]).all()
    assert new_state[others].tobytes() == state[others].tobytes()


@pytest.mark.parametrize("vocab_size", [12, 300, 384])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_translators_row_that_is_not_finite_is_shown_wherever_it_stands(vocab_size: int, value: float) -> None:
    step = small_step(vocab_size, has_memory=True)
    table = np.zeros((vocab_size, vocab_size), np.float32)
    table[np.arange(vocab_size), np.arange(vocab_size)] = value
    table[0] = 0
    table[0, [7, 9]] = 3  # two equally likely ones
    for tensor in step.graph.initializer:
        if list(tensor.dims) == [vocab_size, vocab_size]:
            tensor.CopyFrom(onnx.numpy_helper.from_array(table, tensor.name))
    rows: Arrays = {
        "token": np.arange(vocab_size),
        "state": np.zeros((vocab_size, 6), np.float32),
        "forced": np.full((1, vocab_size), -1),
        "memory": np.zeros((vocab_size, 16, 2), np.float32),
        "keys": np.zeros((vocab_size, 16, 2), np.float32),
        "lengths": np.full(vocab_size, 16, np.int32),
    }
    decode = greedy_decode(step)
    found = run(decode, rows)
    assert found["tokens"][0, 0] == 7
    assert (found["tokens"][0, 1:] == -1).all()
    assert np.isnan(found["log_probability"][0, 1:]).all()
    for row in range(0, vocab_size, 5):
        assert run(decode, of_row(rows, row))["tokens"].tolist() == [[7 if row == 0 else -1]]


def test_a_row_may_not_end_before_its_step() -> None:
    graphs = with_decode({"step": small_step(12)}, end_id=6)
    rows = generation_rows(30, 12, 6)
    rows["forced"][:] = -1
    rows["can_end"] = np.arange(NUM_STEPS)[:, None] >= np.arange(30) % 10
    expected, state = steps(in_memory(graphs), rows)
    assert_same(windows(in_memory(graphs), "decode_filtered", rows, [NUM_STEPS]), (expected, state))
    is_end = expected["tokens"] == 6
    assert is_end.any()
    assert not (is_end & ~rows["can_end"]).any()


def test_weights_are_written_once_and_give_the_same_bits_inside_and_outside(tmp_path: Path) -> None:
    step = small_step(40)
    save_graphs(tmp_path, {"step": small_step(40)})
    alone = (tmp_path / "weights.bin").read_bytes()
    graphs = with_decode({"step": step}, end_id=3)
    rows = generation_rows(7, 40, 6) | {"can_end": np.ones((NUM_STEPS, 7), np.bool_)}
    inside = run(graphs["decode_filtered"], rows)
    save_graphs(tmp_path, graphs)
    assert (tmp_path / "weights.bin").read_bytes() == alone
    session = open_session(tmp_path / "decode_filtered.onnx")
    for (name, array), outside in zip(inside.items(), session.run(list(inside), rows), strict=True):
        assert array.tobytes() == outside.tobytes(), name


def test_the_census_counts_the_step_inside_the_loop() -> None:
    step = small_step(40)
    counts = census(sampled_decode(step, None))
    assert counts["Scan"] == 1
    assert counts["Tanh"] == census(step)["Tanh"]
    assert "Scan" not in census(choose_graph(40, None))


def test_a_set_of_an_older_build_without_decode_opens_and_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tiny_bundle(tmp_path, "gru")
    monkeypatch.setattr("export.build.with_decode", lambda graphs, **_: graphs)
    (report,) = build_sets(bundle, ["int8"])
    assert report.is_passed
    assert FIGURE not in report.figures()
    opened = open_set(CPU, bundle, "int8")
    assert opened.decoder(2) is None
    assert not opened.has("choose")
