"""The whole way once for each task: train, export, verify, serve, call, stop."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models.bundle import Bundle
from tests.end_to_end.real_server import RealServer, real_server
from tests.forked import Program


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


def in_a_new_process(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Where nothing is imported but by the program."""
    return subprocess.run([sys.executable, "-m", *arguments], check=False, capture_output=True, text=True)


CASES = {
    "builtin-tiny": (["epochs=1", "model.hidden_size=32"], ask_for_text),
    "numbers-en-zh-tiny": (["epochs=1", "model.hidden_size=32"], ask_for_translations),
    "comparisons-tiny": (["epochs=1"], ask_for_labels),
}


LONG = ("numbers-en-zh-tiny",)  # trained in tests/training/test_tasks.py, too


@pytest.mark.parametrize(
    "recipe", [pytest.param(recipe, marks=pytest.mark.slow if recipe in LONG else ()) for recipe in CASES]
)
def test_from_text_to_endpoint(program: Program, tmp_path: Path, recipe: str) -> None:
    def printed(*arguments: str) -> str:
        done = in_a_new_process(*arguments) if recipe == "builtin-tiny" else program(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    overrides, ask = CASES[recipe]
    store = tmp_path / "store"
    places = [f"store={store}", f"run_dir={tmp_path / 'run'}"]
    lines = printed("training", "run", f"training/recipes/{recipe}.yaml", *places, *overrides).splitlines()
    path = Path(lines[-1])
    assert path.parent.parent == store
    printed("export", "build", str(path))
    printed("export", "verify", str(path))
    assert Bundle(path).graph_sets == ("fp32", "int8")
    with real_server(store, log=tmp_path / "log") as server:
        (model,) = server.client.get("/v1/models").json()["data"]
        assert model["task"] == Bundle(path).record.task
        ask(server)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=60) == 0
