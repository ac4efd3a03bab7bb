"""Models some of whose tokens make numbers that are not finite, and models that hang: built graphs with a few nodes
more.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.onnx.decode import with_decode
from export.onnx.weights import save_graphs
from export.parity.backends import open_graphs
from export.parity.limits import CPU_BACKEND
from models.bundle import Bundle
from models.digest import as_json, file_sha256, sealed
from models.graph_set import MANIFEST, Golden, new_graph_set
from runtime.golden import golden_answer
from runtime.opening import step_runner

NAN, INFINITE, NOTHING, HALF, STATE = "qxzjv"
"""What a character does: after it one logit is NaN or +infinity, all are -infinity, every other is -infinity (which is
allowed), or the state is NaN, and so are all later logits."""
_DERIVED = ("decode", "decode_filtered", "decode_beam", "choose")


def break_bundle(bundle: Bundle, sets: Iterable[str]) -> None:
    """Replace graph sets of a bundle whose tokens are characters by broken ones."""
    ids = {character: bundle.tokenizer.encode(character)[0] for character in (NAN, INFINITE, NOTHING, HALF, STATE)}
    for name in sets:
        built = bundle.graph_set(name)
        graphs = {graph: onnx.load(str(built.graph(graph))) for graph in built.manifest.graphs if graph not in _DERIVED}
        _add_to_logits(graphs["step"], _logit_table(ids, bundle.tokenizer.vocab_size))
        for graph in graphs.keys() & {"step", "advance"}:
            _break_state(graphs[graph], ids[STATE])
        graphs = with_decode(graphs, end_id=bundle.tokenizer.end_id)
        with new_graph_set(bundle.graph_set_path(name)) as (folder, seal):
            save_graphs(folder, graphs)
            opened = open_graphs(CPU_BACKEND, bundle, name, {graph: folder / f"{graph}.onnx" for graph in graphs})
            steps = step_runner(opened, bundle.task, 2)
            logits = golden_answer(bundle.task, [1, 2], bundle.record.state_width, opened.sequences(), steps)
            seal(
                bundle_sha256=bundle.record.sha256,
                graphs=list(graphs),
                versions=built.manifest.versions,
                golden=Golden(ids=[1, 2], logits=logits.tolist()).model_dump(),
                parity=built.manifest.parity,
                notes=built.manifest.notes,
            )


def hang_in_decode(graph_set: Path) -> None:
    """Change the `decode` of a graph set on disk so that a call of it goes on for 2^63 - 1 rounds of a Loop."""
    path = graph_set / "decode.onnx"
    model = onnx.load(str(path), load_external_data=False)
    kept, going = "kept_temperature", "temperature"
    for node in model.graph.node:
        node.input[:] = [kept if item == going else item for item in node.input]
    floats = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B"]) for name in ("before", "after")]
    flags = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("goes_on", "goes_further")]
    round_number = helper.make_tensor_value_info("round", TensorProto.INT64, [])
    nodes = [
        helper.make_node("Identity", ["goes_on"], ["goes_further"]),
        helper.make_node("Neg", ["before"], ["after"]),
    ]
    body = helper.make_graph(nodes, "rounds", [round_number, flags[0], floats[0]], [flags[1], floats[1]])
    model.graph.node.insert(0, helper.make_node("Loop", ["num_rounds", "is_begun", going], [kept], body=body))
    for name, value in (("num_rounds", np.array(2**63 - 1)), ("is_begun", np.array(True))):
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    path.write_bytes(model.SerializeToString())
    record = json.loads((graph_set / MANIFEST).read_text())
    del record["sha256"]
    record["files"][path.name] = file_sha256(path)
    (graph_set / MANIFEST).write_bytes(as_json(sealed(record)))


def _logit_table(ids: dict[str, int], vocab_size: int) -> NDArray[np.float32]:
    """What is added to the logits after each token, float32 [V, V]."""
    table = np.zeros((vocab_size, vocab_size), np.float32)
    table[:, list(ids.values())] = -4  # rare in answers, so that some have none
    table[ids[NAN], vocab_size // 2] = np.nan
    table[ids[INFINITE], -1] = np.inf
    table[ids[NOTHING]] = -np.inf
    table[ids[HALF], ::2] = -np.inf
    return table


def _add_to_logits(step: onnx.ModelProto, table: NDArray[np.float32]) -> None:
    _rename_output(step, "logits", "plain_logits")
    step.graph.initializer.append(numpy_helper.from_array(table, "logit_table"))
    step.graph.node.extend(
        [
            helper.make_node("Gather", ["logit_table", "token"], ["more_logits"], axis=0),
            helper.make_node("Add", ["plain_logits", "more_logits"], ["logits"]),
        ]
    )


def _break_state(model: onnx.ModelProto, token: int) -> None:
    """Make the state NaN after a token."""
    _rename_output(model, "new_state", "plain_state")
    constants = {"bad_token": np.array(token), "nan": np.array(np.nan, np.float32), "axis": np.array([1])}
    nodes: list[tuple[str, list[str], str]] = []
    if any(item.name == "token" for item in model.graph.input):
        nodes += [("Equal", ["token", "bad_token"], "is_token"), ("Unsqueeze", ["is_token", "axis"], "is_bad")]
    else:
        constants |= {"start": np.array(0), "one": np.array(1), "second": np.array(1), "zero": np.array(0, np.int32)}
        nodes += [
            ("Equal", ["ids", "bad_token"], "is_token"),
            ("Shape", ["ids"], "shape"),
            ("Gather", ["shape", "second"], "longest"),
            ("Range", ["start", "longest", "one"], "positions"),
            ("Cast", ["lengths"], "long_lengths"),
            ("Unsqueeze", ["long_lengths", "axis"], "ends"),
            ("Less", ["positions", "ends"], "is_inside"),
            ("And", ["is_token", "is_inside"], "is_read"),
            ("Cast", ["is_read"], "num_read"),
            ("ReduceMax", ["num_read", "axis"], "any_read"),
            ("Cast", ["any_read"], "is_bad"),
        ]
    nodes.append(("Where", ["is_bad", "nan", "plain_state"], "new_state"))
    types = {"long_lengths": 7, "num_read": 6, "is_bad": 9}  # int64, int32, bool
    for operator, inputs, output in nodes:
        attributes: dict[str, Any] = {"to": types[output]} if operator == "Cast" else {}
        model.graph.node.append(helper.make_node(operator, inputs, [output], **attributes))
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))


def _rename_output(model: onnx.ModelProto, name: str, other: str) -> None:
    """Give a value another name wherever it is made or read, but not the output."""
    for node in model.graph.node:
        node.input[:] = [other if item == name else item for item in node.input]
        node.output[:] = [other if item == name else item for item in node.output]
