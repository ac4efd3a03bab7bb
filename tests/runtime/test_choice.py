from pathlib import Path

import pytest

from models.digest import as_json, sealed
from runtime.choice import Choice, read_choice, write_choice
from runtime.device import VARIABLE, cache_folder

INT8 = Choice("onnxruntime-cpu", "int8")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return cache_folder("sha")


def test_a_choice_is_read_as_it_was_written_last(folder: Path) -> None:
    assert read_choice("sha") is None
    write_choice("sha", Choice("tensorrt", "gpu-fp16"), [], {})
    path = write_choice("sha", INT8, [{"case": "step 1"}], {"rounds": 5})
    assert path == folder / "bench.json"
    assert list(folder.iterdir()) == [path]
    assert read_choice("sha") == INT8
    assert read_choice("other") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        as_json({"choice": {"backend": "onnxruntime-cpu", "set": "int8"}}),  # not sealed
        as_json(sealed({"choice": {"backend": "abacus", "set": "int8"}})),
        as_json(sealed({"choice": {"backend": "onnxruntime-cpu", "set": "gpu-fp16"}})),
        as_json(sealed({"choice": None})),
        as_json(sealed({})),
    ],
)
def test_a_record_that_makes_no_sense_is_no_choice(folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / "bench.json").write_bytes(content)
    assert read_choice("sha") is None
