"""Models that were not made here, wrapped by the command as docs/wrap.md shows, answer over HTTP."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from export.build import build_sets, verify_set
from export.user_module.wrap.command import architecture_with_code
from models.bundle import Bundle
from models.errors import ExportError
from tests.end_to_end.real_server import RealServer, real_server
from tests.end_to_end.test_readme import same
from tests.export.user_module.wrap.documented import DOCUMENT, examples, questions, run_examples
from tests.forked import Program

Question = tuple[str, dict[str, Any]]  # path, body

QUESTIONS: list[Question] = [
    ("/v1/generate", {"prompt": "a stitch in", "max_tokens": 40, "temperature": 0, "seed": 1}),
    ("/v1/generate", {"prompt": ["all", "the early bird catches the w"], "n": 3, "seed": 5, "max_tokens": 33}),
    ("/v1/generate", {"prompt": "that is not gold " * 6, "max_tokens": 20, "seed": 9, "temperature": 1.5}),
    ("/v1/translate", {"text": "one"}),
    ("/v1/translate", {"text": ["two", "five six four one"], "beam_size": 6, "alternatives": 3, "alignment": True}),
    ("/v1/translate", {"text": ["six", "e" * 40], "beam_size": 2, "coverage_penalty": 0.3, "max_tokens": 12}),
    ("/v1/sentiment", {"text": "This soup was dull.", "all_scores": True}),
    ("/v1/sentiment", {"text": ["great", "The film was poor. " * 9, "[CLS] unheard-of ☃"], "all_scores": True}),
]


@pytest.fixture(scope="module")
def store(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader of the document ends with; the models are trained, wrapped and verified on the way."""
    folder = tmp_path_factory.mktemp("documented")
    run_examples(program, folder)
    return folder / "store"


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[RealServer]:
    with real_server(store, log=store.parent / "log") as running:
        yield running


def essence(answer: dict[str, Any]) -> dict[str, Any]:
    """What must not change: all but the id and what a cache had."""
    usage = {key: value for key, value in answer["usage"].items() if key != "cached_tokens"}
    return {key: value for key, value in answer.items() if key != "id"} | {"usage": usage}


def texts_of(answer: dict[str, Any]) -> list[str | None]:
    return [item.get("text") for item in answer.get("choices", answer.get("translations", []))]


@pytest.mark.parametrize(("command", "documented"), questions(), ids=lambda text: text[:60].split("8000")[-1])
def test_a_question_is_answered_as_the_document_says(command: str, documented: str, server: RealServer) -> None:
    command = command.replace("http://127.0.0.1:8000", server.url)
    found = json.loads(subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True).stdout)
    wanted = json.loads(documented)
    assert texts_of(found) == texts_of(wanted)
    for answer in (wanted, found):
        answer.pop("seed", None)
    same(wanted, found)


def test_the_document_has_an_example_and_a_question_for_each_task() -> None:
    assert len(examples()) == len(questions()) == 3
    assert all(f"--task {task}" in DOCUMENT for task in ("generation", "sentiment", "translation"))


def test_one_is_native_with_int8_and_two_are_wrapped(store: Path) -> None:
    bundles = {path.name: Bundle(path / "1") for path in store.iterdir()}
    assert {name: bundle.graph_sets for name, bundle in bundles.items()} == {
        "proverbs": ("fp32",),
        "reviews": ("fp32", "int8"),
        "numbers": ("fp32",),
    }
    assert bundles["proverbs"].record.architecture.architecture == "wrapped"
    assert bundles["reviews"].record.architecture.architecture == "classifier"
    assert bundles["reviews"].tokenizer.kind == "wordpiece"
    for bundle in bundles.values():
        assert bundle.record.provenance["made_by"] == "python -m export wrap"
        assert f"# {bundle.record.name}" in (bundle.path / "README.md").read_text()


def test_a_stream_gives_what_a_whole_answer_does(server: RealServer) -> None:
    question = {"prompt": "all that", "max_tokens": 30, "temperature": 0}
    whole = server.client.post("/v1/generate", json=question).json()["choices"][0]["text"]
    streamed = server.client.post("/v1/generate", json={**question, "stream": True}).text
    events = [json.loads(line.removeprefix("data: ")) for line in streamed.splitlines() if line.startswith("data: {")]
    assert "".join(event["choices"][0]["text"] for event in events) == whole == " glitters is not gold"


def test_alternatives_of_a_beam_come_in_order_and_attention_adds_up(server: RealServer) -> None:
    question = {"text": "three", "beam_size": 4, "alternatives": 3, "alignment": True}
    (found,) = server.client.post("/v1/translate", json=question).json()["translations"]
    scores = [found["score"], *(item["score"] for item in found["alternatives"])]
    assert found["text"] == "drei"
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 4
    for row in found["alignment"]["weights"]:
        assert sum(row) == pytest.approx(1, abs=1e-5)


def test_answers_are_the_same_alone_and_among_many(server: RealServer) -> None:
    alone = [server.client.post(path, json=body) for path, body in QUESTIONS]
    together = asyncio.run(all_at_once(server.url, QUESTIONS * 6))
    for number, second in enumerate(together):
        question, first = QUESTIONS[number % len(QUESTIONS)], alone[number % len(QUESTIONS)]
        assert first.status_code == second.status_code == 200, (question, first.text, second.text)
        assert essence(first.json()) == essence(second.json()), question


async def all_at_once(url: str, asked: list[Question]) -> list[httpx.Response]:
    async with httpx.AsyncClient(base_url=url, timeout=300) as client:
        return list(await asyncio.gather(*(client.post(path, json=body) for path, body in asked)))


def test_verify_passes_with_and_without_the_code_and_build_says_what_to_do(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.parent)  # where my_lm.py lies
    bundle = Bundle(store / "proverbs" / "1")
    without = verify_set(bundle, "fp32")
    with_code = verify_set(bundle, "fp32", architecture=architecture_with_code(bundle, "my_lm:ProverbLM"))
    assert without.is_passed
    assert with_code.is_passed
    assert set(with_code.figures()) - set(without.figures()) == {"worst_error", "mean_error", "argmax_agreement"}
    with pytest.raises(ExportError, match=r"proverbs/1 is a user's own module.*no code, so int8 cannot be built"):
        build_sets(bundle, ["int8"])
