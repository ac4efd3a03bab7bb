"""docs/tagging.md: its commands train, export and serve a tagger, which answers as it says."""

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.quality.tagging import tags_of_words
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
    with served(program, tmp_path_factory.mktemp("tagging"), blocks("sh")[0]) as running:
        yield running


@pytest.fixture(scope="module")
def crf_server(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    commands = blocks("sh")[2]
    assert "model.crf=true" in commands
    with served(program, tmp_path_factory.mktemp("crf"), commands) as running:
        yield running


@contextlib.contextmanager
def served(program: Program, folder: Path, commands: str) -> Iterator[RealServer]:
    """A server of what the document's commands train and export."""
    train, build, serve = (line.split()[2:] for line in commands.splitlines())
    places = [f"store={folder / 'artifacts'}", f"run_dir={folder / 'run'}"]
    for arguments in ([*train, *places], [*build[:-1], str(folder / build[-1])]):
        done = program(*arguments)
        assert done.returncode == 0, done.stderr
    with real_server(folder / "artifacts", *serve[1:], log=folder / "log") as running:
        yield running


@pytest.fixture(scope="module")
def bundle(server: RealServer) -> Bundle:
    return Bundle(server.log.parent / "artifacts" / "errands-tiny" / "1")


@pytest.fixture(scope="module")
def crf_bundle(crf_server: RealServer) -> Bundle:
    return Bundle(crf_server.log.parent / "artifacts" / "errands-crf" / "1")


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


def test_with_a_crf_served_labels_are_the_likeliest_sequence(crf_server: RealServer, crf_bundle: Bundle) -> None:
    crf, labels = crf_bundle.crf, crf_bundle.record.labels or []
    assert crf is not None
    assert crf_bundle.words is not None
    assert crf_bundle.record.metrics["validation_span_f1"] > 0.98
    texts = [" ".join(sentence.words) for sentence in errands(0.1).validation[:64]]
    texts += ["of lamps of 12 12 lamps Paris Paris to", "lamps " * 300]  # which nobody would write
    results = crf_server.client.post("/v1/tag", json={"text": texts}).json()["results"]
    runner = OnnxSequenceRunner(open_graph_set(crf_bundle.graph_set(server_set(crf_server))))
    encoder = WordEncoder(crf_bundle.tokenizer, crf_bundle.words)
    for text, result in zip(texts, results, strict=True):
        ids, lengths = padded([encoder.encode([token["text"] for token in result["tokens"]]).ids])
        logits = runner.run("tag", {"ids": ids, "lengths": lengths})["logits"][0, : lengths[0]]
        classes, scores = crf.decode(logits)
        found = [labels[label] for label in classes.tolist()]
        assert [token["label"] for token in result["tokens"]] == found
        assert [token["score"] for token in result["tokens"]] == scores.tolist()
        assert all(b[:2] != "I-" or a in (b, f"B-{b[2:]}") for a, b in pairwise(["O", *found]))
        alone = crf_server.client.post("/v1/tag", json={"text": text}).json()["results"]
        assert alone == [result]
    words = [[token["text"] for token in result["tokens"]] for result in results]
    served_tags = [[token["label"] for token in result["tokens"]] for result in results]
    assert tags_of_words(crf_bundle, server_set(crf_server), words) == served_tags


def test_with_a_crf_both_sets_are_verified_and_the_card_says_so(crf_bundle: Bundle, program: Program) -> None:
    done = program("export", "verify", str(crf_bundle.path))
    assert done.returncode == 0, done.stderr
    for set_name in crf_bundle.graph_sets:
        parity = crf_bundle.graph_set(set_name).manifest.parity
        assert parity["rows_changed_by_batch"] == parity["rows_changed_by_padding"] == 0
        assert parity["argmax_agreement"] > 0.99
    card = (crf_bundle.path / "README.md").read_text(encoding="utf-8")
    assert "a CRF over their sequence" in card
    assert "likeliest sequence of labels" in card


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
