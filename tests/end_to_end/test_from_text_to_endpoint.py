"""The whole way once for each task: train, export, verify, serve, call, stop."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models.bundle import Bundle
from tests.end_to_end.real_server import RealServer, real_server


def program(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask_for_text(server: RealServer) -> None:
    question = {"prompt": "The ", "max_tokens": 24, "seed": 7}
    answer = server.client.post("/v1/generate", json=question).json()
    (choice,) = answer["choices"]
    assert choice["text"]
    assert choice["finish_reason"] in ("length", "stop")
    assert answer["usage"]["completion_tokens"] <= 24
    streamed = server.client.post("/v1/generate", json={**question, "stream": True}).text
    assert streamed.endswith("data: [DONE]\n\n")


def ask_for_translations(server: RealServer) -> None:
    question = {"text": ["seven", "three hundred and five"], "source": "en", "target": "zh", "alternatives": 1}
    answer = server.client.post("/v1/translate", json=question).json()
    first, second = answer["translations"]
    assert first["score"] >= first["alternatives"][0]["score"]
    assert second["text"]
    assert server.client.post("/v1/translate", json={**question, "target": "de"}).status_code == 422


def ask_for_labels(server: RealServer) -> None:
    texts = ["the soup was better than the rice.", "the soup was worse than the rice."]
    answer = server.client.post("/v1/sentiment", json={"text": texts, "all_scores": True}).json()
    for result in answer["results"]:
        assert result["score"] == max(result["scores"].values())
        assert sum(result["scores"].values()) == pytest.approx(1, abs=1e-6)


CASES = {
    "builtin-tiny": (["epochs=1", "model.hidden_size=32"], ask_for_text),
    "numbers-en-zh-tiny": (["epochs=1", "model.hidden_size=32"], ask_for_translations),
    "comparisons-tiny": (["epochs=1"], ask_for_labels),
}


@pytest.mark.parametrize("recipe", CASES)
def test_from_text_to_endpoint(tmp_path: Path, recipe: str) -> None:
    overrides, ask = CASES[recipe]
    store = tmp_path / "store"
    places = [f"store={store}", f"run_dir={tmp_path / 'run'}"]
    printed = program("training", "run", f"training/recipes/{recipe}.yaml", *places, *overrides)
    path = Path(printed.splitlines()[-1])
    assert path.parent.parent == store
    program("export", "build", str(path))
    program("export", "verify", str(path))
    assert Bundle(path).graph_sets == ("fp32", "int8")
    with real_server(store, log=tmp_path / "log") as server:
        (model,) = server.client.get("/v1/models").json()["data"]
        assert model["task"] == Bundle(path).record.task
        ask(server)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=60) == 0
