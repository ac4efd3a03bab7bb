"""docs/forecasting.md as a reader would follow it, and the model it makes asked over HTTP."""

import csv
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle
from models.forecaster import ForecasterConfig
from runtime.frames import batched
from runtime.opening import CPU, open_set
from tests.end_to_end.real_server import RealServer, real_server
from tests.forked import Program

DOCUMENT = Path("docs/forecasting.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`(\w+\.py)`.*?```python\n(.*?)```", DOCUMENT, re.DOTALL | re.MULTILINE))
(COMMANDS,) = re.findall(r"```sh\n(python make_rides.*?)```", DOCUMENT, re.DOTALL)
PATH = "/v1/forecast"
START = "2024-01-01"
LIMITS = ("--max-frames", "20000", "--max-session-tokens", "20000")


@pytest.fixture(scope="module")
def folder(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the document's files are and its commands were run, but the last one, which serves."""
    found = tmp_path_factory.mktemp("forecasting")
    for name, text in FILES.items():
        (found / name).write_text(text, encoding="utf-8")
    *commands, serve = COMMANDS.replace("\\\n", " ").strip().splitlines()
    assert serve == "python -m server --store store"
    for command in commands:
        python, *arguments = shlex.split(command.replace("training/recipes", str(Path("training/recipes").resolve())))
        assert python == "python"
        module = arguments[1:] if arguments[0] == "-m" else [arguments[0].removesuffix(".py"), *arguments[1:]]
        done = program(*module, folder=found)
        assert done.returncode == 0, done.stdout + done.stderr
    return found


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RealServer]:
    with real_server(folder / "store", *LIMITS, log=folder / "log") as it:
        yield it


@pytest.fixture(scope="module")
def rides(folder: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with (folder / "rides.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["series"], []).append(float(row["value"]))
    return found


def ask(server: RealServer, *series: Sequence[float | None], **fields: Any) -> list[dict[str, Any]]:
    """Forecasts of series that begin at START."""
    body = {"series": [{"start": START, "values": list(values)} for values in series], **fields}
    answer = server.client.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["forecasts"]
    return found


def test_the_documents_client_runs_and_most_values_lie_between_the_quantiles(folder: Path, server: RealServer) -> None:
    text = FILES["ask.py"].replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run([sys.executable, "-c", text], cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"^2024-02-09T\d\d:00:00 (-?\d+) to (-?\d+), was (\d+)$", done.stdout, re.MULTILINE)
    assert len(lines) == 12
    assert sum(int(low) <= int(actual) <= int(high) for low, high, actual in lines) >= 6


def test_the_answers_are_those_of_the_graphs(folder: Path, server: RealServer, rides: dict[str, list[float]]) -> None:
    bundle = Bundle(folder / "store" / "rides" / "1")
    config = bundle.config
    assert isinstance(config, ForecasterConfig)
    rows = [values[:number] for number, values in zip((1, 30, 33, 200, 1000), rides.values(), strict=False)]
    found = ask(server, *rows)
    for values, forecast in zip(rows, found, strict=True):
        row: dict[str, NDArray[Any]] = {
            "values": np.array(values, np.float32),
            "time": 1_704_067_200 + 3600 * np.arange(len(values)),
        }
        inputs = batched(config.signature, [row], len(values))
        state = np.zeros((1, config.state_size), np.float32)
        wanted = open_set(CPU, bundle, "fp32").sequences().run("advance", inputs | {"state": state})
        assert np.array(forecast["mean"], np.float32).tobytes() == wanted["mean"][0].tobytes()
        quantiles = np.array([*forecast["quantiles"].values()], np.float32).T
        assert np.array_equal(quantiles, wanted["quantiles"][0])


def test_alone_and_among_32_are_the_same(server: RealServer, rides: dict[str, list[float]]) -> None:
    stations = list(rides.values())
    rows = [stations[i % 8][i * 5 : i * 5 + 20 + 7 * i] for i in range(32)]
    alone = [ask(server, row) for row in rows]
    with ThreadPoolExecutor(32) as pool:
        among = list(pool.map(lambda row: ask(server, row), rows))
    assert among == alone
    assert ask(server, *rows) == [forecast for (forecast,) in alone]


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_appended_observations_give_what_one_pass_gives(server: RealServer, count: int) -> None:
    generator = np.random.default_rng(4)
    drawn = np.round(100 + 20 * np.sin(np.arange(count) / 24 * 2 * np.pi) + generator.standard_normal(count), 3)
    values: list[float | None] = [None if generator.random() < 0.02 else float(value) for value in drawn]
    values[0] = 100.0
    session = server.client.post("/v1/sessions", json={"model": "rides"}).json()["id"]
    (found,) = ask(server, values[:1], session=session)
    for value in values[1:]:
        answer = server.client.post(PATH, json={"session": session, "series": [{"values": [value]}]})
        assert answer.status_code == 200, answer.text
        (found,) = answer.json()["forecasts"]
    (whole,) = ask(server, values)
    assert found == whole
    assert server.client.get(f"/v1/sessions/{session}").json()["tokens"] == count


def test_v2_answers_too(server: RealServer) -> None:
    inputs = [
        {"name": "values", "shape": [1, 3], "datatype": "FP32", "data": [5, 6, 7]},
        {"name": "time", "shape": [1, 3], "datatype": "INT64", "data": [1_704_067_200 + 3600 * i for i in range(3)]},
    ]
    answer = server.client.post("/v2/models/rides/infer", json={"inputs": inputs}).json()
    found = {output["name"]: output for output in answer["outputs"]}
    assert found["quantiles"]["shape"] == [1, 24, 9]
    assert np.array_equal(np.float32(found["mean"]["data"]), np.float32(ask(server, [5, 6, 7])[0]["mean"]))
