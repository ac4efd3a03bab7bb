"""docs/tagging.md: its commands train, export and serve a tagger, which answers as it says."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.bundle import Bundle
from models.word_ids import WordEncoder
from runtime.onnxruntime.build import open_graph_set
from runtime.onnxruntime.run import OnnxSequenceRunner
from runtime.padding import padded
from tests.end_to_end.real_server import RealServer, real_server
from tests.end_to_end.test_readme import same
from tests.forked import Program
from training.data.errands import errands

DOCUMENT = Path("docs/tagging.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture(scope="module")
def server(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    folder = tmp_path_factory.mktemp("tagging")
    train, build, serve = (line.split()[2:] for line in blocks("sh")[0].splitlines())
    places = [f"store={folder / 'artifacts'}", f"run_dir={folder / 'run'}"]
    for arguments in ([*train, *places], [*build[:-1], str(folder / build[-1])]):
        done = program(*arguments)
        assert done.returncode == 0, done.stderr
    with real_server(folder / "artifacts", *serve[1:], log=folder / "log") as running:
        yield running


@pytest.fixture(scope="module")
def bundle(server: RealServer) -> Bundle:
    return Bundle(server.log.parent / "artifacts" / "errands-tiny" / "1")


def test_the_documented_request_gives_the_documented_answer(server: RealServer) -> None:
    command = blocks("sh")[1].replace("http://127.0.0.1:8000", server.url)
    found = subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True).stdout
    (documented,) = blocks("json")
    same(json.loads(documented), json.loads(found))
    (result,), (expected,) = json.loads(found)["results"], json.loads(documented)["results"]
    for part in ("tokens", "spans"):
        assert [item["text"] for item in result[part]] == [item["text"] for item in expected[part]]


def test_the_documented_client_gets_what_it_prints(server: RealServer) -> None:
    code = blocks("python")[0].replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == blocks("text")[0]


def test_served_labels_are_the_graphs(server: RealServer, bundle: Bundle) -> None:
    words = [list(sentence.words) for sentence in errands(0.1).validation[:64]]
    results = server.client.post("/v1/tag", json={"tokens": words}).json()["results"]
    assert bundle.words is not None
    encoder, labels = WordEncoder(bundle.tokenizer, bundle.words), bundle.record.labels or []
    ids, lengths = padded([encoder.encode(sentence).ids for sentence in words])
    runner = OnnxSequenceRunner(open_graph_set(bundle.graph_set(server_set(server))))
    best = runner.run("tag", {"ids": ids, "lengths": lengths})["logits"].argmax(axis=2)
    for row, sentence in enumerate(words):
        expected = [labels[label] for label in best[row, : len(sentence)].tolist()]
        assert [token["label"] for token in results[row]["tokens"]] == expected


def server_set(server: RealServer) -> str:
    (card,) = server.client.get("/v1/models").json()["data"]
    precision: str = card["precision"]
    return precision


def test_it_has_learnt_what_only_the_words_around_a_name_say(bundle: Bundle) -> None:
    assert bundle.record.metrics["validation_span_f1"] > 0.98
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    assert "| place |" in card


def test_a_text_of_the_most_tokens_is_answered(server: RealServer) -> None:
    answer = server.client.post("/v1/tag", json={"text": "lamps " * 8192})
    assert answer.status_code == 200
    assert answer.json()["usage"] == {"tokens": 8192}
