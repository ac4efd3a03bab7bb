"""The builder is asked for the right things in the right order, and every message of it is kept."""

from pathlib import Path

import pytest

from models.errors import ExportError
from runtime.tensorrt.profiles import Range
from tests.runtime.tensorrt.fake_gpu import FakeGpu

PROFILES = (
    {"ids": Range((1, 16), (4, 64), (8, 128)), "lengths": Range((1,), (4,), (8,))},
    {"ids": Range((1, 144), (1, 256), (2, 512)), "lengths": Range((1,), (1,), (2,))},
)


def test_a_build_is_this_sequence_of_calls(gpu: FakeGpu, tmp_path: Path) -> None:
    from runtime.tensorrt.build import build_from_onnx

    reported: list[tuple[str, int, int]] = []
    log = tmp_path / "step.log"
    built = build_from_onnx(
        Path("m.onnx"),
        PROFILES,
        log=log,
        timing_cache=b"old",
        workspace=99,
        on_progress=lambda *step: reported.append(step),
    )
    assert gpu.calls == [
        ("Builder",),
        ("create_network", 1 << 1),  # strongly typed
        ("OnnxParser",),
        ("parse_from_file", "m.onnx"),
        ("create_builder_config",),
        ("set_memory_pool_limit", "WORKSPACE", 99),
        ("clear_flag", "TF32"),
        ("create_timing_cache", b"old"),
        ("set_timing_cache", b"old", False),
        (
            "add_optimization_profile",
            {"ids": [[1, 16], [4, 64], [8, 128]], "lengths": [[1], [4], [8]]},
        ),
        (
            "add_optimization_profile",
            {"ids": [[1, 144], [1, 256], [2, 512]], "lengths": [[1], [1], [2]]},
        ),
        ("build_serialized_network",),
        ("get_timing_cache",),
    ]
    assert built.timing_cache == b"timings"
    assert b'"onnx": "m.onnx"' in built.plan
    assert log.read_text() == "VERBOSE: a tactic was timed\n"
    assert reported == [("Building Engine", done, 2) for done in (0, 1, 2)]  # the phases inside are not reported


def test_a_gather_is_a_network_of_its_own(gpu: FakeGpu, tmp_path: Path) -> None:
    from runtime.tensorrt.build import build_gather

    build_gather(8, 40, ({"index": Range((4,), (4,), (4,))},), log=tmp_path / "log")
    inputs = [(name, shape) for _, name, _, shape in (call for call in gpu.calls if call[0] == "add_input")]
    assert inputs == [("slots", [8, 40]), ("index", [-1])]
    assert gpu.names("add_gather", "mark_output", "build_serialized_network") == [
        "add_gather",
        "mark_output",
        "build_serialized_network",
    ]
    assert ("mark_output", "rows") in gpu.calls


def test_a_timing_cache_of_another_machine_is_begun_anew(gpu: FakeGpu, tmp_path: Path) -> None:
    from runtime.tensorrt.build import build_from_onnx

    gpu.refuses = {"timing_cache"}
    build_from_onnx(Path("m.onnx"), PROFILES, log=tmp_path / "log", timing_cache=b"old")
    assert [call for call in gpu.calls if "timing_cache" in call[0]][:4] == [
        ("create_timing_cache", b"old"),
        ("set_timing_cache", b"old", False),
        ("create_timing_cache", b""),
        ("set_timing_cache", b"", False),
    ]


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        ("parse", r"cannot parse m\.onnx: error 0: no such operator\. See .*log"),
        ("build", r"cannot build m\.onnx: no implementation for node 3\. See .*log"),
        ("profile", r"refuses a profile of m\.onnx: .*lengths"),
    ],
)
def test_a_refusal_quotes_tensorrt_and_names_the_log(gpu: FakeGpu, tmp_path: Path, refused: str, words: str) -> None:
    from runtime.tensorrt.build import build_from_onnx

    gpu.refuses = {refused}
    with pytest.raises(ExportError, match=words):
        build_from_onnx(Path("m.onnx"), PROFILES, log=tmp_path / "log")
