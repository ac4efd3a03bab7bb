"""What `verify` measures, where it writes it, and what it says of sets for a GPU."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from export.build import architecture_of, build_sets, verify_set
from export.parity.backends import Served
from export.parity.decode import BATCH_FIGURE, FIGURE
from export.parity.errors import decode_figures, until_end
from export.parity.limits import limits_of
from export.parity.texts import MAX_TOKENS, texts_of_file
from export.report import judged, raise_if_failed, write_record
from models.bundle import Bundle
from models.cells import CELL_KINDS, CellKind
from models.errors import BackendMissingError, ExportError, ParityError
from runtime.opening import open_set, why_unavailable
from tests.tiny_models import tiny_bundle, tiny_classifier_bundle, tiny_tagger_bundle, tiny_translator_bundle

Built = Callable[..., Bundle]
MAKERS: dict[str, Callable[..., Bundle]] = {
    "generation": tiny_bundle,
    "translation": tiny_translator_bundle,
    "sentiment": tiny_classifier_bundle,
    "tagging": tiny_tagger_bundle,
}
CASES = [
    ("lstm", "generation"),
    ("gru", "translation"),
    ("rnn-tanh", "sentiment"),
    ("rnn-relu", "sentiment"),
    ("gru", "tagging"),
]


@pytest.mark.parametrize(("kind", "task"), CASES)
def test_the_gpu_sets_pass_and_say_that_it_is_a_format_check(tmp_path: Path, kind: CellKind, task: str) -> None:
    bundle = MAKERS[task](tmp_path, kind)
    exact, half = build_sets(bundle, ["gpu-fp32", "gpu-fp16"])
    for report in (exact, half):
        assert report.is_passed
        assert report.faults == ()
        assert "This is a format check" in report.notes[0]
        assert "What a GPU computes was not seen" in report.notes[0]
        assert "rows_changed_by_batch" in report.facts, "on a GPU this is a fact, not a check"
    assert {check.name for check in exact.checks} >= {"worst_error"}
    assert {check.name for check in half.checks} >= {"mean_error", "argmax_agreement"}
    assert exact.figures()["worst_error"] <= 1e-5 < half.figures()["worst_error"], "float16 rounding is seen"
    sizes = [
        sum(file.stat().st_size for file in bundle.graph_set(name).path.glob("*.bin")) for name in bundle.graph_sets
    ]
    assert sizes[1] < 0.6 * sizes[0], "weights are stored in half the bytes"


@pytest.mark.slow
@pytest.mark.parametrize("kind", CELL_KINDS)
@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("generation", {}),
        ("translation", {"attention": "additive", "attention_size": 16, "input_feeding": True, "bridge": "zero"}),
        ("translation", {"bidirectional": False, "tied_embeddings": False, "shared_embeddings": False}),
        *(("sentiment", {"pooling": pooling}) for pooling in ("mean", "max", "attention", "last")),
        ("sentiment", {"bidirectional": False}),
    ],
    ids=str,
)
def test_every_variant_has_its_gpu_sets(tmp_path: Path, kind: CellKind, task: str, options: dict[str, object]) -> None:
    for report in build_sets(MAKERS[task](tmp_path, kind, **options), ["gpu-fp32", "gpu-fp16"]):
        assert report.is_passed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shakespeare-char", "sentiment-en", "sentiment-zh", "translate-en-zh"])
def test_the_shipped_models_lose_nothing_in_float16(tmp_path: Path, name: str) -> None:
    source = Path(__file__).parents[3] / "artifacts" / name / "1"
    target = tmp_path / name / "1"
    target.mkdir(parents=True)
    for file in source.iterdir():
        if file.is_file():
            (target / file.name).write_bytes(file.read_bytes())
    exact, half = build_sets(Bundle(target), ["gpu-fp32", "gpu-fp16"])
    assert exact.figures()["worst_error"] <= 1e-5
    assert half.figures()["mean_error"] <= 1e-2
    assert half.figures()["argmax_agreement"] >= 0.999


def test_verify_measures_decodes_and_single_steps(built_bundle: Built) -> None:
    report = verify_set(built_bundle("gru"), "fp32")
    assert {"greedy_decodes_changed", "worst_step_against_whole"} <= {check.name for check in report.checks}
    assert report.facts["greedy_decodes_identical"] == 1
    assert report.notes == ()
    assert "greedy_decodes_identical" in verify_set(built_bundle("gru", "translation"), "int8").facts


def test_the_record_lies_in_the_cache_and_not_in_the_sealed_set(
    built_bundle: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RNNSERVE_CACHE", str(tmp_path))
    bundle = built_bundle("lstm", "sentiment")
    report = verify_set(bundle, "int8")
    path = write_record(bundle, report)
    assert path.name == "verify-int8-onnxruntime-cpu.json"
    assert path.is_relative_to(tmp_path / bundle.record.sha256)
    record = json.loads(path.read_text())
    assert record["is_passed"] is True
    assert record["facts"] == report.facts
    assert {check["name"]: check["measured"] for check in record["checks"]} == {
        check.name: check.measured for check in report.checks
    }
    bundle.graph_set("int8")  # its hashes still hold


def test_an_unknown_backend_is_answered_with_those_that_exist(built_bundle: Built) -> None:
    with pytest.raises(ExportError, match=r"'abacus' cannot verify. Backends: .*onnxruntime-cpu"):
        verify_set(built_bundle("gru"), "fp32", "abacus")


def test_a_backend_that_is_not_here_is_answered_with_what_it_needs(built_bundle: Built) -> None:
    if why_unavailable("tensorrt") is None:
        pytest.skip("TensorRT is here")
    with pytest.raises(BackendMissingError, match="TensorRT"):
        verify_set(built_bundle("gru", "sentiment"), "fp32", "tensorrt")


def test_a_set_as_the_server_opens_it_measures_as_its_files_do(built_bundle: Built) -> None:
    """What verify sees of any backend but the CPU's: here the CPU's own way through it."""
    for task in ("generation", "sentiment"):
        bundle = built_bundle("lstm", task)
        architecture = architecture_of(bundle)
        served = architecture.figures(Served(bundle, open_set("onnxruntime-cpu", bundle, "fp32")))
        plain = bundle.graph_set("fp32").manifest.parity
        # The loop is checked where a set is built and verified.
        assert served.keys() == plain.keys() - {FIGURE, BATCH_FIGURE}
        assert served["worst_error"] == pytest.approx(plain["worst_error"], abs=1e-6)
        assert served["rows_changed_by_batch"] == 0


def test_a_users_text_is_measured(built_bundle: Built, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("the cat sat on the mat. \n" * 40)
    for task in MAKERS:
        bundle = built_bundle("lstm", task)
        texts = texts_of_file(file, bundle)
        assert all(2 <= len(text) <= MAX_TOKENS for text in texts)
        plain, own = (verify_set(bundle, "int8", texts=each).figures() for each in (None, texts))
        key = "mean_probability_difference" if task in ("sentiment", "tagging") else "pytorch_nats_per_token"
        assert own[key] != plain[key]


def test_a_text_that_is_no_text_is_refused(built_bundle: Built, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    for content, reason in ((b"\n \n", "holds no text"), (b"ab\xff", "not UTF-8 at byte 2")):
        file.write_bytes(content)
        with pytest.raises(ExportError, match=reason):
            texts_of_file(file, built_bundle("lstm", "sentiment"))


def test_a_decode_counts_as_changed_only_where_pytorch_was_sure() -> None:
    expected = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    found = np.array([[1, 2, 3], [4, 0, 0], [0, 8, 9]])
    margins = np.array([[1, 1, 1], [1, 1e-6, 1], [0.5, 1, 1]], np.float32)
    figures = decode_figures(expected, margins, found)
    assert figures == {"greedy_decodes_identical": pytest.approx(1 / 3), "greedy_decodes_changed": 1}


def test_what_follows_the_end_of_a_translation_is_no_difference() -> None:
    expected, found = np.array([[5, 0, 7]]), np.array([[5, 0, 8]])
    margins = np.ones((1, 3), np.float32)
    assert decode_figures(*until_end(expected, margins, found, 0))["greedy_decodes_identical"] == 1
    assert decode_figures(*until_end(expected, margins, np.array([[5, 9, 0]]), 0))["greedy_decodes_changed"] == 1


def test_figures_outside_their_limits_fail_nan_included() -> None:
    limits = limits_of("gpu-fp16", "onnxruntime-cpu")
    good = {"mean_error": 1e-3, "argmax_agreement": 1.0, "worst_error": 5.0}
    assert judged("gpu-fp16", "onnxruntime-cpu", good, limits).is_passed
    for name, value in (("mean_error", 0.5), ("mean_error", float("nan")), ("argmax_agreement", 0.9)):
        report = judged("gpu-fp16", "onnxruntime-cpu", good | {name: value}, limits)
        with pytest.raises(ParityError, match=f"gpu-fp16 fails parity on onnxruntime-cpu: {name} is"):
            raise_if_failed([report])
    assert "rows_changed_by_batch" not in limits
    assert limits_of("fp32", "onnxruntime-cpu")["rows_changed_by_batch"].value == 0
    assert "rows_changed_by_batch" not in limits_of("fp32", "onnxruntime-cuda")
