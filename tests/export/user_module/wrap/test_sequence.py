"""python -m export wrap --task sequence, from Python: what is published, what the graphs give, and each refusal."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.build import verify_set
from export.inspection import bundle_tables
from export.tasks.task import WrapFacts
from export.user_module.inputs import input_spec_from_text, value_range_from_text
from export.user_module.wrap.command import architecture_with_code
from export.user_module.wrap.options import WrapOptions
from export.user_module.wrap.sequence import user_sequence_model
from export.user_module.wrap.wrap import wrap_model
from models.bundle import Bundle
from models.errors import ConfigError, ExportError, ParityError
from runtime.frames import batched, stepped
from runtime.golden import answer_of_set, check_golden
from runtime.opening import CPU, open_set
from tests.export.user_module.wrap import frame_modules

MODULES = "tests.export.user_module.wrap.frame_modules"
INPUTS = {
    "Vad": ("frames:float32[batch,time,8]",),
    "Policy": ("action:int64[batch,time]", "seen:float32[batch,time,3]", "goal:float32[batch,2]"),
    "Tags": ("x:float32[batch,time,5]",),
    "Ctc": ("x:float32[batch,time,5]",),
}


def options(folder: Path, name: str, inputs: tuple[str, ...], **others: Any) -> WrapOptions:
    return WrapOptions(f"{MODULES}:{name}", "sequence", None, folder / name.lower(), inputs=inputs, **others)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("sequence")
    found = {}
    for name, inputs in INPUTS.items():
        torch.manual_seed(3)
        outputs = ("speech",) if name == "Vad" else ()
        ranges = ("time:3..8192",) if name == "Ctc" else ()
        found[name] = wrap_model(options(folder, name, inputs, outputs=outputs, ranges=ranges)).bundle
    return found


def test_a_bundle_has_a_signature_and_no_tokenizer(bundles: dict[str, Bundle]) -> None:
    record = bundles["Policy"].record
    assert record.tokenizer is None
    assert not (bundles["Policy"].path / "tokenizer.json").exists()
    signature = bundles["Policy"].config.signature  # type: ignore[union-attr]
    assert signature is not None
    assert [(port.name, port.dtype, port.shape, port.has_time) for port in (*signature.inputs, *signature.outputs)] == [
        ("action", "int64", [], True),
        ("seen", "float32", [3], True),
        ("goal", "float32", [2], False),
        ("logits", "float32", [4], True),
        ("best", "int64", [], True),
        ("age", "int64", [], True),
        ("last", "float32", [4], False),
    ]
    action, seen, goal = signature.inputs
    assert (action.low, action.high) == (0, 10)
    assert (seen.may_be_nan, goal.may_be_nan) == (True, False)
    assert not signature.has_lengths
    assert [(entry.name, entry.size) for entry in record.row] == [("hidden", 16), ("count", 1)]
    assert [port.name for port in bundles["Vad"].config.signature.outputs] == ["speech"]  # type: ignore[union-attr]


def test_graphs_are_those_of_the_task_and_shown(bundles: dict[str, Bundle]) -> None:
    graphs = {name: bundle.graph_set("fp32").manifest.graphs for name, bundle in bundles.items()}
    assert {name: sorted(found) for name, found in graphs.items()} == {
        "Vad": ["advance", "step"],
        "Policy": ["advance", "step"],
        "Tags": ["advance"],
        "Ctc": ["advance"],
    }
    assert len(list(bundle_tables(bundles["Policy"]))) == 5


@pytest.mark.parametrize("name", INPUTS)
def test_it_is_verified_with_and_without_its_code(bundles: dict[str, Bundle], name: str) -> None:
    bundle = bundles[name]
    plain = verify_set(bundle, "fp32")
    with_code = verify_set(bundle, "fp32", architecture=architecture_with_code(bundle, f"{MODULES}:{name}"))
    assert plain.is_passed, plain.failure()
    assert with_code.is_passed, with_code.failure()
    assert "worst_error" in with_code.figures()
    figures = plain.figures()
    assert figures["other_bits_by_batch"] == 0
    assert ("worst_change_by_chunks" in figures) == (name in {"Vad", "Policy"})
    assert ("worst_change_by_padding" in figures) == (name in {"Vad", "Tags"})


def test_the_golden_vector_is_checked(bundles: dict[str, Bundle]) -> None:
    for bundle in bundles.values():
        opened = open_set(CPU, bundle, "fp32")
        golden = opened.graph_set.manifest.golden
        check_golden("fp32", golden, answer_of_set(opened, bundle.task, golden.ids, bundle.record.state_width))


def test_states_are_those_of_a_pytorch_loop_and_integers_among_them_are_exact(bundles: dict[str, Bundle]) -> None:
    bundle = bundles["Policy"]
    torch.manual_seed(3)
    module = frame_modules.Policy().eval()
    signature = bundle.config.signature  # type: ignore[union-attr]
    assert signature is not None
    sequences = open_set(CPU, bundle, "fp32").sequences()
    generator = np.random.default_rng(0)
    row: dict[str, NDArray[Any]] = {
        "action": generator.integers(11, size=21),
        "seen": generator.standard_normal((21, 3)).astype(np.float32),
        "goal": generator.standard_normal(2).astype(np.float32),
    }
    state = np.zeros((1, bundle.record.state_width), np.float32)
    inputs = {name: torch.from_numpy(values)[None] for name, values in row.items()}
    hidden, count = None, None
    for start in range(21):
        piece = {name: values[start : start + 1] if name != "goal" else values for name, values in row.items()}
        found = sequences.run("step", stepped(signature, [piece]) | {"state": state})
        state = found["new_state"]
        frame = {name: value[:, start : start + 1] if name != "goal" else value for name, value in inputs.items()}
        with torch.no_grad():
            outputs, hidden, count = module(**frame, hidden=hidden, count=count)
        np.testing.assert_allclose(found["logits"][0], outputs["logits"][0, 0], atol=1e-5)
        assert found["age"].tolist() == [start + 1] == [int(outputs["age"])]
    assert state[0, -1] == 21
    whole = sequences.run("advance", batched(signature, [row], 21) | {"state": np.zeros_like(state)})
    np.testing.assert_allclose(whole["new_state"], state, atol=1e-5)
    np.testing.assert_allclose(whole["last"], whole["logits"][:, -1], atol=1e-6)


def test_an_output_may_have_steps_of_its_own_and_need_some_frames(bundles: dict[str, Bundle]) -> None:
    signature = bundles["Ctc"].config.signature  # type: ignore[union-attr]
    assert signature is not None
    assert (signature.least_frames, signature.outputs[0].has_own_steps, signature.takes_padding) == (3, True, False)


X = "x:float32[batch,time,4]"


@pytest.mark.parametrize(
    ("name", "inputs", "sentence"),
    [
        ("Growing", (X,), "State past has shape .* it grows with the text"),
        ("Learnt", (X,), "without states answers otherwise than with zeros"),
        ("Halving", (X,), "gives output output with 15 steps for 29 frames. With states, give one for each frame"),
        ("Doubled", (X,), "gives output output as float64; give one of float32, int64"),
        ("Swapped", (X,), "its first axis is the batch"),
        ("Stateless", (X,), r"takes 1 states and gives Tensor; give \(outputs, \*states\)"),
        ("Unbounded", (X, "n:int64[batch,time]"), "holds integers and Unbounded has no embedding.*--range n:0..99"),
        ("Tags", (X, "y:float32[batch,time]", "z:int64[batch]"), "takes 2 arguments; 3 inputs were given"),
        ("Tags", ("x:float32[4,time,4]",), "The first axis of every input is the batch"),
        ("Tags", ("x:float32[batch,time,wide]",), "has a word beyond its second axis"),
        ("Tags", ("state:float32[batch,time,5]",), "Input state has a name that the graphs use themselves"),
        ("Vad", (X,), r"fails in PyTorch: RuntimeError"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_is_traced(
    name: str, inputs: tuple[str, ...], sentence: str
) -> None:
    facts = WrapFacts(inputs=tuple(input_spec_from_text(text) for text in inputs))
    with pytest.raises(ExportError, match=sentence):
        user_sequence_model(getattr(frame_modules, name)().eval(), facts)


def test_a_range_says_which_integers_are_allowed() -> None:
    facts = WrapFacts(
        inputs=(input_spec_from_text(X), input_spec_from_text("n:int64[batch,time]")),
        ranges=dict([value_range_from_text("n:3..9")]),
    )
    model = user_sequence_model(frame_modules.Unbounded().eval(), facts)
    assert (model.signature.inputs[1].low, model.signature.inputs[1].high) == (3, 9)
    assert model.signature.inputs[1].padding == 3


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Looking", "read in pieces gives another answer"),
        ("Ignoring", "changes with what stands past a text's end"),
    ],
)
def test_graphs_that_do_not_agree_among_themselves_are_refused(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(ParityError, match=sentence):
        wrap_model(options(tmp_path, name, (X,)))
    assert not list(tmp_path.glob("*/1"))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"inputs": ()}, "--input is missing: name each argument of forward"),
        ({"tokenizer": Path("tokenizer.json")}, "--tokenizer goes with tasks of text, not sequence"),
        ({"task": "generation"}, "--tokenizer is missing: a generation model reads text"),
        ({"task": "generation", "tokenizer": Path("a")}, "--input goes with --task sequence, not generation"),
        ({"labels": ("a", "b")}, "--labels goes with --task sentiment"),
        ({"end_token": "</s>"}, "--end-token goes with generation and translation"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(fields: dict[str, Any], sentence: str) -> None:
    given = {"reference": "a:b", "task": "sequence", "tokenizer": None, "to": Path("store/a"), "inputs": (X,)}
    with pytest.raises(ConfigError, match=sentence):
        WrapOptions(**{**given, **fields})
