"""The locust file in a process of its own: against the server, against nothing, and against one that lies."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.questions import read_texts
from tests.end_to_end.real_server import free_port, real_server
from tests.loadtest.lying_server import lying_server

TEXTS = Path("loadtest/texts.json")
KINDS_OF_TASK = {  # others are not asked
    "generation": ("generate", "generate streamed", "first token"),
    "translation": ("translate",),
    "sentiment": ("sentiment",),
}


def load(host: str, folder: Path, seconds: int = 5) -> tuple[int, str, dict[str, tuple[int, int]]]:
    """Four users for some seconds: exit code, what was printed, and numbers of requests and of failures by name."""
    command = [sys.executable, "-m", "locust", "--locustfile", "loadtest/locustfile.py", "--headless", "--only-summary"]
    command += [
        "--host",
        host,
        "--users",
        "4",
        "--spawn-rate",
        "4",
        "--run-time",
        f"{seconds}s",
        "--stop-timeout",
        "30",
    ]
    command += ["--html", str(folder / "report.html"), "--csv", str(folder / "figures")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    path = folder / "figures_stats.csv"
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) if path.exists() else []
    numbers = {row["Name"]: (int(row["Request Count"]), int(row["Failure Count"])) for row in rows if row["Type"]}
    return done.returncode, done.stdout + done.stderr, numbers


def test_every_answer_under_load_is_right(tmp_path: Path) -> None:
    with real_server(Path("artifacts"), log=tmp_path / "log") as server:
        models = server.client.get("/v1/models").json()["data"]
        code, printed, figures = load(server.url, tmp_path)
    assert code == 0, printed
    expected = {f"{kind} ({model['id']})" for model in models for kind in KINDS_OF_TASK.get(model["task"], ())}
    assert set(figures) == expected, printed
    for name, (requests, failures) in figures.items():
        assert requests > 0, name
        assert failures == 0, name
    assert (tmp_path / "report.html").stat().st_size > 0
    for task, kinds in KINDS_OF_TASK.items():
        is_served = task in {model["task"] for model in models}
        assert (f"Left out: {kinds[0]}." in printed) == (not is_served)


def test_an_answer_with_status_200_that_is_wrong_fails_the_run(tmp_path: Path) -> None:
    texts = read_texts(TEXTS)
    labels = {item["text"]: item["label"] for item in texts["sentiment"]["en"]}
    with lying_server(labels) as url:
        code, printed, figures = load(url, tmp_path, seconds=2)
    assert code == 1, printed
    asked = {name: numbers for name, numbers in figures.items() if not name.startswith("first token")}
    assert len(asked) == 4, printed
    for name, (requests, failures) in asked.items():
        assert requests == failures > 0, name
    for reason in ("under load", "wanted a text that is not empty", "wanted a label of"):
        assert reason in printed, reason


def test_a_label_that_is_wrong_already_when_asked_alone_ends_the_program(tmp_path: Path) -> None:
    with lying_server({}) as url:  # "negative", whatever the text
        code, printed, _ = load(url, tmp_path)
    assert code == 1, printed
    assert "wanted label positive, got 'negative'" in printed


@pytest.mark.parametrize("host", ["http://127.0.0.1:{port}", ""])
def test_without_a_server_the_program_ends_with_a_sentence(host: str, tmp_path: Path) -> None:
    code, printed, _ = load(host.format(port=free_port()), tmp_path)
    assert code == 1, printed
    assert ("does not answer as it should" if host else "Say which server") in printed
