"""Serving needs neither torch nor onnx: the real server starts and answers where they cannot be imported."""

from collections.abc import Callable
from pathlib import Path

from models.bundle import Bundle
from models.cells import CellKind
from tests.end_to_end.real_server import real_server

ABSENT = ("torch", "lightning", "onnx", "onnxscript", "matplotlib", "yaml", "sacrebleu")


def test_the_server_answers_where_the_training_libraries_are_absent(
    built_bundle: Callable[[CellKind], Bundle], tmp_path: Path
) -> None:
    hidden = tmp_path / "absent"
    for name in ABSENT:
        (hidden / name).mkdir(parents=True)
        (hidden / name / "__init__.py").write_text(f"raise ImportError({name!r} + ' is absent in this test')\n")
    store = built_bundle("gru").path.parent.parent
    environment = {"PYTHONPATH": str(hidden)}
    with real_server(store, "--models", "gru", log=tmp_path / "log", environment=environment) as server:
        answer = server.client.post("/v1/generate", json={"prompt": "a", "max_tokens": 5})
        assert answer.status_code == 200
        maps = Path(f"/proc/{server.process.pid}/maps")
        if maps.exists():
            assert "libtorch" not in maps.read_text()
