"""The whole way once: train, export, verify, serve, call, stop."""

import signal
import subprocess
import sys
from pathlib import Path

from models.bundle import Bundle
from tests.end_to_end.real_server import real_server


def program(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_text_to_endpoint(tmp_path: Path) -> None:
    store = tmp_path / "store"
    printed = program(
        "training",
        "run",
        "training/recipes/builtin-tiny.yaml",
        f"store={store}",
        f"run_dir={tmp_path / 'run'}",
        "epochs=1",
        "model.hidden_size=32",
    )
    path = Path(printed.splitlines()[-1])
    assert path.parent.parent == store
    program("export", "build", str(path))
    program("export", "verify", str(path))
    assert Bundle(path).graph_sets == ("fp32", "int8")
    with real_server(store, log=tmp_path / "log") as server:
        question = {"prompt": "The ", "max_tokens": 24, "seed": 7}
        answer = server.client.post("/v1/generate", json=question).json()
        (choice,) = answer["choices"]
        assert answer["model"] == Bundle(path).id
        assert choice["text"]
        assert choice["finish_reason"] in ("length", "stop")
        assert answer["usage"]["completion_tokens"] <= 24
        streamed = server.client.post("/v1/generate", json={**question, "stream": True}).text
        assert streamed.endswith("data: [DONE]\n\n")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=60) == 0
