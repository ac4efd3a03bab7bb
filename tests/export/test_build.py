import re
import shutil
import signal
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from export.build import build_sets, verify_set
from export.onnx.int8.linear import signed_edge
from export.trace import recurrent
from export.trace.language_model import language_model_graphs
from export.trace.reference import with_weights
from models.bundle import Bundle
from models.cells import CellKind, cell_of
from models.config import LanguageModelConfig
from models.errors import BundleCorruptError, BundleNotFoundError, ExportError, ParityError
from models.network.language_model import LanguageModel
from tests.forked import Program
from tests.tiny_models import tiny_bundle

Built = Callable[[CellKind], Bundle]


def test_a_set_passes_its_own_verification_again(built_bundle: Built) -> None:
    for name in ("fp32", "int8"):
        report = verify_set(built_bundle("rnn-relu"), name)
        assert all(check.is_passed for check in report.checks)
        assert report.facts["argmax_agreement"] > 0.9


def test_swapped_gates_fail_parity_and_are_never_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_bundle(tmp_path, "lstm")
    monkeypatch.setattr(recurrent, "cell_of", lambda kind: replace(cell_of(kind), onnx_gates="ifco"))
    named = r"has its gates in the order i, f, c, o; i, o, f, c is expected"
    with pytest.raises(ParityError, match=rf"{named}.*worst_error is \S+, allowed 1e-05.* It is not published"):
        build_sets(bundle, ["fp32"])
    assert bundle.graph_sets == ()
    assert [path.name for path in (bundle.path / "onnx").iterdir()] == [".lock"]


def test_a_wrong_int8_range_fails_parity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_bundle(tmp_path, "gru")
    monkeypatch.setattr("export.onnx.int8.calibration.TANH_EDGE", signed_edge(0.05))
    with pytest.raises(
        ParityError, match=r"the int8 range of \S+ node .* larger ones are clipped.*rise_of_nats_per_token"
    ):
        build_sets(bundle, ["int8"])
    assert bundle.graph_sets == ()


def test_a_failed_rebuild_leaves_the_old_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_bundle(tmp_path, "gru")
    build_sets(bundle, ["int8"])
    before = bundle.graph_set("int8").manifest.sha256
    monkeypatch.setattr("export.onnx.int8.calibration.TANH_EDGE", signed_edge(0.05))
    with pytest.raises(ParityError):
        build_sets(bundle, ["int8"])
    assert bundle.graph_set("int8").manifest.sha256 == before


@pytest.mark.parametrize("file", ["step.onnx", "weights.bin", "manifest.json"])
def test_a_changed_or_truncated_file_of_a_set_is_named(tmp_path: Path, file: str) -> None:
    bundle = tiny_bundle(tmp_path, "rnn-tanh")
    build_sets(bundle, ["int8"])
    path = bundle.graph_set_path("int8") / file
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 4
    for damaged in (content[: len(content) // 2], bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(BundleCorruptError, match=re.escape(file)):
            bundle.graph_set("int8")


def test_a_set_copied_from_another_bundle_is_refused(tmp_path: Path, built_bundle: Built) -> None:
    other = tiny_bundle(tmp_path, "gru", name="another")
    source = built_bundle("gru").graph_set_path("int8")
    other.graph_set_path("int8").mkdir(parents=True)
    for file in source.iterdir():
        (other.graph_set_path("int8") / file.name).write_bytes(file.read_bytes())
    with pytest.raises(BundleCorruptError, match="built from another bundle"):
        other.graph_set("int8")


def test_a_set_under_another_sets_name_is_refused(built_bundle: Built, tmp_path: Path) -> None:
    source = built_bundle("gru")
    target = tmp_path / "store" / "x" / "1"
    shutil.copytree(source.path, target)
    shutil.rmtree(target / "onnx" / "fp32")
    (target / "onnx" / "int8").rename(target / "onnx" / "fp32")
    with pytest.raises(BundleCorruptError, match="is the graph set int8 under another name"):
        Bundle(target).graph_set("fp32")


def test_an_unknown_set_is_answered_with_those_that_exist(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, "gru")
    with pytest.raises(ExportError, match=r"'fp8' cannot be built. Sets: fp32, int8, gpu-fp32, gpu-fp16\."):
        build_sets(bundle, ["fp8"])
    with pytest.raises(BundleNotFoundError, match="no graph set gpu-fp16"):
        bundle.graph_set("gpu-fp16")


def test_the_exported_model_is_left_as_it_was(built_bundle: Built) -> None:
    bundle = built_bundle("lstm")
    assert isinstance(bundle.config, LanguageModelConfig)
    model = with_weights(LanguageModel(bundle.config), bundle)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    language_model_graphs(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("survived", [0, 2, 5])
def test_a_build_killed_at_any_file_leaves_nothing_that_loads(program: Program, tmp_path: Path, survived: int) -> None:
    """SIGKILL at a durable write (weights, graphs, manifest) or at the final sync; no set appears."""
    bundle = tiny_bundle(tmp_path, "rnn-tanh")
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        import export.onnx.weights, models.graph_set, models.store
        left = int(sys.argv[2])
        def dying(original):
            def call(*arguments):
                global left
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                return original(*arguments)
            return call
        export.onnx.weights.write_durably = dying(export.onnx.weights.write_durably)
        models.graph_set.write_durably = dying(models.graph_set.write_durably)
        models.store.sync_tree = dying(models.store.sync_tree)
        from export.build import build_sets
        from models.bundle import Bundle
        build_sets(Bundle(Path(sys.argv[1])), ["int8"])
        """
    )
    (tmp_path / "killed_build.py").write_text(script)
    killed = program("killed_build", str(bundle.path), str(survived), folder=tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert bundle.graph_sets == ()
    with pytest.raises(BundleNotFoundError):
        bundle.graph_set("int8")
