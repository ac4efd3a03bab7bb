"""What cannot be exported is refused by name, with the reason and the way round, and nothing is written."""

from pathlib import Path

import pytest

from tests.export.user_module.command_line import MODULES, failure, run_module

X = ("x:float32[batch,time,8]",)
WITH_LENGTHS = (*X, "lengths:int64[batch]")


@pytest.fixture(autouse=True)
def _in_the_modules_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(MODULES)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("name", "inputs", "parts"),
    [
        ("quantised", X, ("encoder.layer (LSTM) is quantised", "export the float module")),
        ("scripted", X, ("encoder.layer", "is TorchScript", "export the module it was made from")),
        ("compiled", X, ("encoder.layer", "is compiled", "model._orig_mod")),
        ("parallel", X, ("the module itself (DataParallel) spreads", "model.module")),
        ("double", X, ("encoder.layer (RNN) has float64 weights", "model.float()")),
        ("lazy", X, ("0 (LazyLinear) has weights without a shape yet (weight, bias)", "call the module once")),
        ("empty", X, ("encoder.layer (GRU) is empty (num_layers=0", "leave the layer out")),
        ("returns_packed", WITH_LENGTHS, ("Output packed is a PackedSequence", "pad_packed_sequence(packed)[0]")),
        ("returns_packed_data", WITH_LENGTHS, ("Output output has one row for each element", "pad_packed_sequence")),
        ("own_batch_sizes", WITH_LENGTHS, ("batch_sizes that pack_padded_sequence did not give", "pack_padded")),
        ("unpacks_rows", WITH_LENGTHS, ("(batch) of input lengths was frozen to 3", "tensors for lists of rows")),
        ("loops_over_time", WITH_LENGTHS, ("Axis 1 (time) of input x was frozen to 7 in refused.py, line", "nn.LSTM")),
        (
            "counts_rows",
            WITH_LENGTHS,
            ("Axis 0 (batch) of input x was frozen to 3 in refused.py", "x.size(0) for len(x)"),
        ),
        ("reads_a_value", WITH_LENGTHS, ("(refused.py, line", "a Python number of a tensor's values", "x.size(1)")),
        ("reads_a_list", WITH_LENGTHS, ("numbers out of tensor.tolist() or .numpy()", "x.size(1) for max(lengths)")),
        ("returns_a_number", WITH_LENGTHS, ("Output width is int, not a tensor",)),
        ("returns_nothing", WITH_LENGTHS, ("returns no tensor",)),
        ("noisy", WITH_LENGTHS, ("gives another output for the same inputs", "random numbers")),
        ("Remembers", X, ("gives another output for the same inputs", "return new state")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_is_refused_by_name_with_the_way_round(
    name: str, inputs: tuple[str, ...], parts: tuple[str, ...], tmp_path: Path
) -> None:
    message = failure(run_module(f"refused:{name}", inputs, tmp_path / "my.onnx"))
    assert message.startswith(("UnsupportedModelError: ", "ExportError: ", "FrozenAxisError: ")), message
    for part in parts:
        assert part in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("refused", ("'refused' is not written as FILE:NAME", "my_file:MyModel")),
        ("refused.py:Around", ("'refused.py' is a path", "without .py")),
        ("no_such_file:Model", ("No file no_such_file.py in", str(MODULES), "PYTHONPATH")),
        ("refused:NoSuchModel", ("has no NoSuchModel", "Classes and functions in it: Around")),
        ("refused:fails", ("refused:fails() failed: RuntimeError: no such corpus (refused.py, line",)),
        ("refused:needs_arguments", ("missing 1 required positional argument: 'width'", "called without arguments")),
        ("refused:gives_a_string", ("gave str; it must give a torch.nn.Module",)),
        ("refused:NOT_CALLABLE", ("refused:NOT_CALLABLE is int; it must be a class or function",)),
    ],
)
def test_a_reference_that_gives_no_module_is_refused(reference: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    message = failure(run_module(reference, X, tmp_path / "my.onnx"))
    for part in parts:
        assert part in message


def test_a_file_that_cannot_be_imported_is_named_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in (("bad_import", "import no_such_library\n"), ("bad_code", "x = 1\nraise SystemExit('bye')\n")):
        (tmp_path / f"{name}.py").write_text(content, encoding="utf-8")
    message = failure(run_module("bad_import:M", X, tmp_path / "my.onnx"))
    assert (
        "Importing bad_import failed: ModuleNotFoundError: No module named 'no_such_library' (bad_import.py" in message
    )
    assert "Importing bad_code failed: SystemExit: bye (bad_code.py, line 2)" in failure(
        run_module("bad_code:M", X, tmp_path / "my.onnx")
    )


@pytest.mark.parametrize(
    ("inputs", "options", "parts"),
    [
        (("x:float32[batch,time,8",), (), ("'x:float32[batch,time,8' is not written as NAME:DTYPE[AXIS,...]",)),
        (("x:float16[batch,time,8]",), (), ("Input x has dtype 'float16'", "float32, int64, int32, bool")),
        (("x:float32[batch,0,8]",), (), ("axis of size 0",)),
        ((*X, *X), (), ("does not take the 2 inputs",)),
        (
            WITH_LENGTHS,
            (),
            ("forward(x: torch.Tensor)", "does not take the 2 inputs x, lengths", "one --input for each"),
        ),
        (("x:float32[batch,time,9]",), (), ("PyTorch itself fails on random inputs x:float32[batch,time,9]", "8")),
        (X, ("--range", "y:1..2"), ("Range of y: there is no such input or dynamic axis", "x, batch, time")),
        (X, ("--range", "x=1"), ("'x=1' is not written as NAME:LO..HI",)),
        (X, ("--range", "x:5..2"), ("is empty",)),
        (X, ("--range", "x:1..time"), ("Range of x ends at 'time'",)),
        (X, ("--range", "time:0..5"), ("an axis has at least 1",)),
        (X, ("--output-name", "a", "--output-name", "b"), ("2 output names were given", "returns 1 tensors: output")),
        (X, ("--output-name", "x"), ("Output name 'x' is another output's or an input's",)),
    ],
)
def test_inputs_and_options_that_do_not_fit_are_refused(
    inputs: tuple[str, ...], options: tuple[str, ...], parts: tuple[str, ...], tmp_path: Path
) -> None:
    message = failure(run_module("stacks:MixedKinds", inputs, tmp_path / "my.onnx", *options))
    assert message.startswith("ExportError: ")
    for part in parts:
        assert part in message
    assert list(tmp_path.iterdir()) == []


def test_inputs_in_another_order_than_forward_are_refused(tmp_path: Path) -> None:
    inputs = ("lengths:int64[batch]", "ids:int64[batch,time]")
    message = failure(run_module("tagging:Tagger", inputs, tmp_path / "my.onnx"))
    assert "Inputs lengths, ids are in another order" in message
    assert "in that order: ids, lengths" in message


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    for output in (tmp_path / "my.bin", tmp_path / "nowhere" / "my.onnx"):
        assert "must be a file that ends in .onnx, in a folder that exists" in failure(
            run_module("stacks:MixedKinds", X, output)
        )
